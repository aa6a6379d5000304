"""Measure a stand-in data set beside real files and print a Markdown table.

python data/compare_sample.py STAND_IN REAL_PAIRS REAL_RGB.npz

STAND_IN and REAL_PAIRS hold TrainData/{img,mask}. REAL_RGB.npz holds `id`, `rgb` (uint8,
stretched by each patch's maximum) and `mask` (bit-packed) of many real TrainData patches,
nearly all with a landslide, so it serves for shapes and colours, not for how many are empty.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from scipy.stats import rankdata
from skimage.measure import label, regionprops_table

from l4s_utils.bands import BANDS

# First id, columns and number of tiles of the four real scenes.
REAL_SCENES = ((1, 41, 3034), (3035, 15, 150), (3185, 11, 121), (3306, 26, 494))


def read(root):
    """Images float32 (N, 128, 128, 14), masks bool (N, 128, 128) and ids of a folder's TrainData."""
    folder = Path(root) / "TrainData"
    ids = sorted(int(path.stem.split("_")[1]) for path in (folder / "mask").glob("mask_*.h5"))
    images = np.empty((len(ids), 128, 128, 14), np.float32)
    masks = np.empty(images.shape[:3], bool)
    for i, number in enumerate(ids):
        with h5py.File(folder / "img" / f"image_{number}.h5") as file:
            images[i] = file["img"][:]
        with h5py.File(folder / "mask" / f"mask_{number}.h5") as file:
            masks[i] = file["mask"][:]
    return images, masks, ids


def auc(values, positive):
    """Area under the ROC curve of one patch's pixels."""
    ranks, n = rankdata(values.ravel())[positive.ravel()], positive.sum()
    return (ranks.sum() - n * (n + 1) / 2) / (n * (positive.size - n))


def mean_auc(layers, masks, most=300):
    """Mean over the patches with 20 landslide pixels or more (at most `most` of them)."""
    chosen = np.flatnonzero(masks.sum((1, 2)) >= 20)
    chosen = chosen[:: max(len(chosen) // most, 1)]
    return np.mean([auc(layers[i], masks[i]) for i in chosen])


def shapes(masks):
    """Connected landslides of all patches: area, elongation (long / short axis), and how many a patch."""
    wanted = ("area", "axis_major_length", "axis_minor_length")
    rows = pd.concat(
        pd.DataFrame(regionprops_table(label(mask, connectivity=2), properties=wanted)).assign(patch=i)
        for i, mask in enumerate(masks)
        if mask.any()
    )
    large = rows[rows.area >= 20]
    elongation = large.axis_major_length / large.axis_minor_length.clip(lower=1)
    return {
        "landslide area, median (pixels)": rows.area.median(),
        "landslide area, 90th percentile": rows.area.quantile(0.9),
        "landslide area, 99th percentile": rows.area.quantile(0.99),
        "landslide area, largest": rows.area.max(),
        "landslides a positive patch": len(rows) / rows.patch.nunique(),
        "elongation, median (20 pixels or more)": elongation.median(),
        "elongation, 90th percentile": elongation.quantile(0.9),
        "landslide pixels a positive patch": rows.area.sum() / rows.patch.nunique(),
        "median of that": rows.groupby("patch").area.sum().median(),
    }


def edges(masks, places):
    """IoU of landslide on the shared edges of touching tiles: right and lower neighbours."""
    at = {place: i for i, place in enumerate(places)}
    result = {}
    for name, step, mine, theirs in (
        ("right", (0, 1), np.s_[:, -1], np.s_[:, 0]),
        ("lower", (1, 0), np.s_[-1], np.s_[0]),
    ):
        pairs = [
            (masks[i][mine], masks[at[s, r + step[0], c + step[1]]][theirs])
            for (s, r, c), i in at.items()
            if (s, r + step[0], c + step[1]) in at
        ]
        a, b = (np.stack(side) for side in zip(*pairs, strict=True))
        result[f"edge IoU, {name} neighbour"] = (a & b).sum() / max((a | b).sum(), 1)
    return result


def real_place(number):
    """(scene, row, column) of a real TrainData id."""
    for scene, (first, columns, tiles) in enumerate(REAL_SCENES, 1):
        if number < first + tiles:
            return (scene, *divmod(number - first, columns))
    raise ValueError(f"id {number}: TrainData ends at 3799")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stand_in")
    parser.add_argument("real_pairs", help="a folder of real TrainData pairs")
    parser.add_argument("real_rgb", help="an .npz of real RGB patches and masks")
    args = parser.parse_args()

    images, masks, ids = read(args.stand_in)
    real_images, real_masks, _ = read(args.real_pairs)
    with np.load(args.real_rgb) as rgb:
        rgb_ids, rgb_images = rgb["id"], rgb["rgb"]
        rgb_masks = np.unpackbits(rgb["mask"], axis=-1).astype(bool)
    tiles = pd.read_csv(Path(args.stand_in) / "tiles.csv").set_index("id").loc[ids]

    print(f"Stand-in: {len(ids)} patches. Real: {len(real_masks)} pairs, {len(rgb_ids)} RGB patches.\n")
    print("| band | real min / mean / max / std | stand-in | equal neighbours, real | stand-in "
          "| AUC, pairs | AUC, RGB file | AUC, stand-in |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for band in BANDS:
        cells = [band.name]
        real, made = real_images[..., band.index], images[..., band.index]
        for layer in (real, made):
            cells.append(f"{layer.min():.2f} / {layer.mean():.2f} / {layer.max():.2f} / {layer.std():.2f}")
        cells += [f"{(layer[:, :, 1:] == layer[:, :, :-1]).mean():.2f}" for layer in (real, made)]
        channel = ("B4", "B3", "B2").index(band.name) if band.name in ("B4", "B3", "B2") else None
        cells.append(f"{mean_auc(real, real_masks):.2f}")
        cells.append("" if channel is None else f"{mean_auc(rgb_images[..., channel], rgb_masks):.2f}")
        cells.append(f"{mean_auc(made, masks):.2f}")
        print(f"| {' | '.join(cells)} |")

    real_edges = edges(rgb_masks, [real_place(int(number)) for number in rgb_ids])
    made_edges = edges(masks, list(tiles[["scene", "row", "column"]].itertuples(index=False, name=None)))
    # Reported from a full pass over TrainData.
    real_shares = {"patches with a landslide": 0.587, "landslide pixels": 0.0232}
    made_shares = {"patches with a landslide": masks.any((1, 2)).mean(), "landslide pixels": masks.mean()}
    real_rows = real_shares | shapes(rgb_masks) | real_edges
    made_rows = made_shares | shapes(masks) | made_edges
    print("\n| measure | real | stand-in |\n|---|---|---|")
    for name, value in real_rows.items():
        print(f"| {name} | {value:.4g} | {made_rows[name]:.4g} |")


if __name__ == "__main__":
    main()
