"""Figures of the study. Each function draws on the axes it is given and returns them; none saves or trains."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch, Rectangle
from scipy import ndimage, stats

from l4s_utils import bands

# One colour, one meaning, in every figure: Okabe and Ito's palette, safe for colour-blind readers.
COLORS = {
    "landslide": "#D55E00",
    "background": "#999999",
    "train": "#E69F00",
    "val": "#0072B2",
    "ours": "#0072B2",
    "paper": "#000000",
}


def stretch(values, low, high):
    """Values brought to [0, 1] between two limits, clipped; any shape."""
    return np.clip((values - low) / np.maximum(high - low, 1e-9), 0, 1)


def limits(values):
    """2nd and 98th percentile of each band over patches and pixels; values (N, C, H, W), returns two (C,)."""
    return np.percentile(values, [2, 98], axis=(0, 2, 3))


def rgb(values, low, high):
    """Red, green, blue (3, H, W) as a picture (H, W, 3), stretched between limits of shape (3,)."""
    return stretch(values.transpose(1, 2, 0), low, high)


def patch_row(axes, values, mask, low, high, title=""):
    """One patch as RGB, near infrared, slope and mask, small landslides boxed in the first.

    axes: four. values: (6, H, W) of B4, B3, B2, B8, slope, elevation; low, high: (6,) limits that all
    rows of the figure share. Source: paper, figure 1a.
    """
    axes[0].imshow(rgb(values[:3], low[:3], high[:3]))
    for ax, band, cmap in ((axes[1], 3, "gray"), (axes[2], 4, "magma")):
        ax.imshow(values[band], cmap=cmap, vmin=low[band], vmax=high[band])
    axes[3].imshow(mask, cmap=ListedColormap(["white", COLORS["landslide"]]), vmin=0, vmax=1)
    box_small(axes[0], mask)
    axes[0].set_ylabel(title)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    return axes


def box_small(ax, mask, largest=60, most=6):
    """Red boxes around landslides of at most `largest` pixels, the `most` largest of them."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    small = [i for i in np.argsort(sizes)[::-1] if sizes[i] <= largest][:most]
    for rows, columns in (ndimage.find_objects(labels)[i] for i in small):
        corner = (columns.start - 3, rows.start - 3)
        ax.add_patch(
            Rectangle(
                corner, columns.stop - columns.start + 5, rows.stop - rows.start + 5, fill=False, ec="red", lw=1.2
            )
        )
    return ax


def imbalance(axes, masks):
    """Shares of landslide pixels and of patches that hold one, on two axes. Source: paper, figure 1b."""
    shares = masks.mean(), masks.any(axis=(1, 2)).mean()
    for ax, share, of in zip(axes, shares, ("pixels", "patches"), strict=True):
        ax.bar(
            ["landslide", "none"], [100 * share, 100 * (1 - share)], color=[COLORS["landslide"], COLORS["background"]]
        )
        ax.bar_label(ax.containers[0], fmt="%.1f %%")
        ax.set(ylabel=f"share of {of} (%)", ylim=(0, 110), title=f"by {of[:-2] if of == 'patches' else 'pixel'}")
        sns.despine(ax=ax)
    return axes


def band_values(values, mask):
    """A sample of pixels as a long table (band, value, class); values (N, C, H, W) of all sets of bands."""
    inside, outside = (values.transpose(1, 0, 2, 3)[:, mask == k] for k in (1, 0))
    rng = np.random.default_rng(0)
    frames = []
    for label, pixels in (("landslide", inside), ("elsewhere", outside)):
        chosen = pixels[:, rng.permutation(pixels.shape[1])[:4000]]
        frames.append(pd.DataFrame(chosen.T).melt(var_name="band", value_name="value").assign(where=label))
    return pd.concat(frames, ignore_index=True)


def band_boxes(ax, long, names):
    """Boxes of each band's values inside and outside landslides; whiskers at the 5th and 95th percentile."""
    sns.boxplot(
        long.assign(band=[names[i] for i in long["band"]]),
        x="band",
        y="value",
        hue="where",
        order=names,
        palette={"landslide": COLORS["landslide"], "elsewhere": COLORS["background"]},
        fliersize=0,
        whis=(5, 95),
        ax=ax,
    )
    ax.set(xlabel="", ylabel="value (raw / band mean)")
    ax.tick_params(axis="x", rotation=45)
    ax.legend(title="", frameon=False, ncols=2)
    sns.despine(ax=ax)
    return ax


def auc(values, masks, fewest=20):
    """Area under the ROC curve of each band alone, landslide against the rest, mean over patches.

    values: (N, C, H, W), masks: (N, H, W). Patches with fewer than `fewest` landslide pixels do not
    count. 0.5 = no information; below it, landslides are darker. Returns (C,).
    """
    areas = []
    for patch, mask in zip(values, masks, strict=True):
        inside = int(mask.sum())
        if inside >= fewest and inside < mask.size:
            ranks = stats.rankdata(patch.reshape(len(patch), -1), axis=1)[:, mask.ravel() == 1].sum(axis=1)
            areas.append((ranks - inside * (inside + 1) / 2) / (inside * (mask.size - inside)))
    return np.mean(areas, axis=0)


def auc_bars(ax, areas, names):
    """Each band's distance from 0.5, the value of a band that tells nothing."""
    ax.bar(names, np.asarray(areas) - 0.5, bottom=0.5, color=COLORS["ours"])
    ax.axhline(0.5, color="0.3", lw=0.8)
    ax.set(ylabel="AUC of the band alone", ylim=(0.2, 1))
    ax.tick_params(axis="x", rotation=45)
    sns.despine(ax=ax)
    return ax


def correlation(ax, values, names):
    """Pearson correlation of the bands over pixels; values (N, C, H, W)."""
    flat = values.transpose(1, 0, 2, 3).reshape(len(names), -1)
    matrix = np.corrcoef(flat[:, :: max(1, flat.shape[1] // 500_000)])
    sns.heatmap(
        matrix,
        cmap="vlag",
        vmin=-1,
        vmax=1,
        annot=True,
        fmt=".1f",
        annot_kws={"size": 7},
        xticklabels=names,
        yticklabels=names,
        square=True,
        cbar_kws={"label": "correlation"},
        ax=ax,
    )
    return ax


def landslide_sizes(masks) -> np.ndarray:
    """Pixels of each landslide (8-connected), over all patches; those cut by a patch edge count as cut."""
    return np.concatenate([np.bincount(ndimage.label(mask, np.ones((3, 3)))[0].ravel())[1:] for mask in masks])


def size_histogram(ax, sizes):
    """Landslides by area; a pixel is 100 m2."""
    bins = np.geomspace(1, max(10, sizes.max() + 1), 30)
    ax.hist(sizes * 100, bins=bins * 100, color=COLORS["landslide"])
    ax.axvline(np.median(sizes) * 100, color="k", ls="--", lw=1, label=f"median {np.median(sizes) * 100:,.0f} m²")
    ax.set(xscale="log", xlabel="area (m²)", ylabel="landslides")
    ax.legend(frameon=False)
    sns.despine(ax=ax)
    return ax


def scene_map(ax, tiles, ids, shares, scene):
    """Tiles of one scene in their places, coloured by landslide share; tiles that are absent stay white."""
    here = tiles[tiles["scene"] == scene]
    grid = np.full((here["row"].max() + 1, here["column"].max() + 1), np.nan)
    known = dict(zip(ids, shares, strict=True))
    for row in here.itertuples():
        grid[row.row, row.column] = 100 * known.get(row.id, np.nan)
    image = ax.imshow(grid, cmap="YlOrRd", vmin=0, vmax=15)
    ax.set(title=f"scene {scene}: {int(np.isfinite(grid).sum())} tiles", xlabel="column", ylabel="row")
    ax.figure.colorbar(image, ax=ax, label="landslide pixels (%)", shrink=0.7)
    return ax


def split_map(ax, tiles, split, scene):
    """Which part of a split each tile of a scene belongs to."""
    parts = {"unused": "#EEEEEE", "train": "#E69F00", "val": "#56B4E9", "test": "#0072B2"}
    here = tiles[tiles["scene"] == scene].set_index("id")
    grid = np.zeros((here["row"].max() + 1, here["column"].max() + 1))
    for code, part in enumerate(("train", "val", "test"), start=1):
        chosen = here.loc[here.index.intersection(split[part])]
        grid[chosen["row"], chosen["column"]] = code
    ax.imshow(grid, cmap=ListedColormap(parts.values()), vmin=-0.5, vmax=3.5)
    ax.legend(handles=[Patch(color=c, label=p) for p, c in parts.items()], frameon=False, ncols=4, loc="upper center",
              bbox_to_anchor=(0.5, -0.12), fontsize=8)  # fmt: skip
    ax.set(title=f"split of scene {scene}", xlabel="column", ylabel="row")
    return ax


def touching(tiles, first, second):
    """How many of the tiles `first` share an edge with one of the tiles `second`; ids."""
    place = tiles.set_index("id")[["scene", "row", "column"]]
    others = set(map(tuple, place.loc[place.index.intersection(second)].to_numpy()))
    near = [
        any((s, r + dr, c + dc) in others for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0)))
        for s, r, c in place.loc[place.index.intersection(first)].to_numpy()
    ]
    return int(np.sum(near))


def scores_beside_paper(ax, table, score="f1"):
    """One row an experiment: our F1 with its interval beside the paper's value.

    table: one of `runs.table`. The bar is 95 % over test patches where there is one seed, and plus or
    minus one standard deviation over seeds where there are several.
    """
    y = np.arange(len(table))[::-1]
    ran = table[score].notna().to_numpy()
    several = (table["seeds"] > 1).to_numpy()
    low = np.where(several, table[score] - table["sd"], table["low"])
    high = np.where(several, table[score] + table["sd"], table["high"])
    ours = table[score].to_numpy()
    error = np.vstack([np.maximum(ours - low, 0), np.maximum(high - ours, 0)])[:, ran]
    ax.errorbar(ours[ran], y[ran], xerr=error, fmt="o", color=COLORS["ours"], capsize=3, label="ours")
    ax.plot(table[f"paper_{score}"], y, "D", color=COLORS["paper"], mfc="none", label="paper, real data")
    ax.set(yticks=y, yticklabels=table["experiment"], xlabel=f"{score.upper()} of the landslide class, test")
    ax.grid(axis="x", alpha=0.3)
    ax.legend(frameon=False)
    sns.despine(ax=ax)
    return ax


def training_curves(ax, run, score="f1"):
    """A score by epoch, on training and validation; the dotted line is the epoch whose weights are tested."""
    epochs = run.epochs
    for part in ("train", "val"):
        ax.plot(epochs["epoch"] + 1, epochs[f"{part}_{score}"], color=COLORS[part], label=part)
    ax.axvline(epochs["val_f1"].idxmax() + 1, color="0.5", ls=":", lw=1)
    ax.set(title=run.config["experiment"], xlabel="epoch", ylabel=score.upper(), ylim=(0, 1))
    sns.despine(ax=ax)
    return ax


def band_table():
    """The bands as the notebook prints them."""
    return bands.table()[["name", "title", "sensor", "wavelength", "resolution", "unit", "raw_mean"]]


def grid(rows, columns, width=3.0, height=3.0, **kwargs):
    """Figure and axes (rows, columns) of one panel size in inches."""
    return plt.subplots(rows, columns, figsize=(columns * width, rows * height), constrained_layout=True, **kwargs)


def patch_with_mask(ax, values, mask, low, high, title=""):
    """Red, green, blue (3, H, W) of one patch, its landslides outlined."""
    ax.imshow(rgb(values, low, high))
    if mask.any():
        ax.contour(mask, levels=[0.5], colors=COLORS["landslide"], linewidths=1)
    ax.set(xticks=[], yticks=[], title=title)
    return ax
