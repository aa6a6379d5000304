"""The stand-in data set: its files, its exact values, and that touching tiles continue."""

import csv
import hashlib
import json

import h5py
import numpy as np
import pytest

from l4s_utils import sample
from l4s_utils.bands import BANDS
from l4s_utils.errors import InputError, UsageError

PATCHES = 24
RAW_MEANS = np.array([band.raw_mean for band in BANDS])


def read(root, number):
    with h5py.File(root / f"TrainData/img/image_{number}.h5") as image:
        values = image["img"][:]
    with h5py.File(root / f"TrainData/mask/mask_{number}.h5") as mask:
        return values, mask["mask"][:]


def digest(root):
    """One hash over the names and bytes of all files."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(p.relative_to(root)).encode() + p.read_bytes() for p in files)).hexdigest()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return sample.write(tmp_path_factory.mktemp("sample") / "data", patches=PATCHES, progress=False)


@pytest.fixture(scope="module")
def data(root):
    images, masks = zip(*(read(root, number) for number in range(1, PATCHES + 1)), strict=True)
    return np.stack(images), np.stack(masks)


@pytest.fixture(scope="module")
def tiles(root):
    with open(root / "tiles.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "scene", "row", "column"]
    return [tuple(int(value) for value in row.values()) for row in rows]


@pytest.fixture(scope="module")
def touching(tiles):
    """Index pairs of (left, right) and of (upper, lower) neighbours."""
    at = {tile[1:]: i for i, tile in enumerate(tiles)}
    right = [(i, at[s, r, c + 1]) for (s, r, c), i in at.items() if (s, r, c + 1) in at]
    lower = [(i, at[s, r + 1, c]) for (s, r, c), i in at.items() if (s, r + 1, c) in at]
    assert len(right) > 5 and len(lower) > 5
    return np.array(right).T, np.array(lower).T


def test_layout_is_the_real_one(root):
    assert {path.name for path in root.iterdir()} == {"TrainData", "tiles.csv", "stand-in.json"}
    names = {path.name for path in (root / "TrainData/img").iterdir()}
    assert names == {f"image_{n}.h5" for n in range(1, PATCHES + 1)}
    names = {path.name for path in (root / "TrainData/mask").iterdir()}
    assert names == {f"mask_{n}.h5" for n in range(1, PATCHES + 1)}
    assert (root / "TrainData/img/image_1.h5").stat().st_size == 1_837_056
    assert (root / "TrainData/mask/mask_1.h5").stat().st_size == 18_432
    marker = json.loads((root / "stand-in.json").read_text())
    assert marker == {"name": "stand-in", "version": sample.VERSION, "patches": PATCHES, "seed": 0}


def test_keys_dtypes_and_storage(root):
    for kind, key, shape, dtype in (
        ("img/image_7", "img", (128, 128, 14), "float64"),
        ("mask/mask_7", "mask", (128, 128), "uint8"),
    ):
        with h5py.File(root / f"TrainData/{kind}.h5") as file:
            assert list(file) == [key] and not file[key].attrs
            assert (file[key].shape, file[key].dtype) == (shape, dtype)
            assert file[key].chunks is None and file[key].compression is None


def test_values_are_raw_integers_over_the_band_mean_exactly(data):
    images, _ = data
    raw = np.rint(images * RAW_MEANS)
    assert 0 <= raw.min() and raw.max() <= 65535
    assert np.array_equal(raw / RAW_MEANS, images)


def test_masks_are_binary_and_some_are_empty(data):
    _, masks = data
    assert set(np.unique(masks)) == {0, 1}
    assert 0 < masks.any((1, 2)).sum() < PATCHES


def test_same_seed_same_bytes(root, tmp_path, monkeypatch):
    monkeypatch.setattr(sample.os, "cpu_count", lambda: 1)
    again = sample.write(tmp_path / "again", patches=PATCHES, progress=False)
    assert digest(again) == digest(root)


def test_another_seed_is_another_place(root, tmp_path):
    other = sample.write(tmp_path / "other", patches=2, seed=1, progress=False)
    assert not np.array_equal(read(other, 1)[0], read(root, 1)[0])


def test_tiles_are_in_scan_order(tiles):
    assert [tile[0] for tile in tiles] == list(range(1, PATCHES + 1))
    places = [tile[1:] for tile in tiles]
    assert places == sorted(set(places))
    assert {scene for scene, _, _ in places} == {1, 2, 3, 4}


def test_full_size_has_the_real_scenes_shapes():
    extents = sample._layout(3799)
    assert [(e.first, e.patches, e.columns, e.rows) for e in extents] == [
        (1, 3034, 41, 74),
        (3035, 150, 15, 10),
        (3185, 121, 11, 11),
        (3306, 494, 26, 19),
    ]


@pytest.mark.parametrize("band", ["elevation", "B8", "B2"])
def test_touching_tiles_continue(data, touching, band):
    layer = data[0][..., [b.name for b in BANDS].index(band)]
    (left, right), (upper, lower) = touching
    for across, inside in (
        (layer[left][:, :, -1] - layer[right][:, :, 0], np.diff(layer, axis=2)),
        (layer[upper][:, -1] - layer[lower][:, 0], np.diff(layer, axis=1)),
    ):
        assert np.abs(across).mean() < 1.25 * np.abs(inside).mean()
        unrelated = layer[:-2] - layer[2:]
        assert np.abs(across).mean() < 0.5 * np.abs(unrelated).mean()


def test_landslides_continue_over_the_edge(data, touching):
    masks = data[1].astype(bool)
    (left, right), (upper, lower) = touching
    a = np.concatenate([masks[left][:, :, -1], masks[upper][:, -1]])
    b = np.concatenate([masks[right][:, :, 0], masks[lower][:, 0]])
    assert (a | b).sum() > 10
    assert (a & b).sum() / (a | b).sum() > 0.5


def test_blocks_do_not_show():
    """A window computed alone equals the same pixels inside a larger one."""
    extent = sample._layout(60)[0]
    whole, mask = sample._block(extent, 0, sample.Window(0, 0, 256, 256))
    part, part_mask = sample._block(extent, 0, sample.Window(128, 64, 128, 128))
    same = whole[128:, 64:192] == part
    assert same.mean() > 0.999
    assert (mask[128:, 64:192] == part_mask).mean() > 0.999


def test_landslides_lie_on_steep_bright_ground(data):
    images, masks = data
    slide = masks == 1
    assert images[slide][:, 12].mean() > 1.1 * images[~slide][:, 12].mean()
    assert images[slide][:, 3].mean() > 1.3 * images[~slide][:, 3].mean()


def test_coarse_bands_repeat_and_fine_ones_do_not(data):
    equal = (data[0][:, :, 1:] == data[0][:, :, :-1]).mean((0, 1, 2))
    for band in BANDS:
        low, high = {10: (0, 0.1), 12.5: (0.15, 0.6), 20: (0.25, 0.45), 60: (0.7, 0.95)}[band.resolution]
        assert low <= equal[band.index] <= high, band.name


def test_an_older_stand_in_is_replaced_and_nothing_is_left_beside(tmp_path):
    out = tmp_path / "data"
    out.mkdir()
    sample.write(out, patches=3, progress=False)
    sample.write(out, patches=1, progress=False)
    assert len(list((out / "TrainData/img").iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_failure_leaves_the_older_one(tmp_path, monkeypatch):
    out = sample.write(tmp_path / "data", patches=1, progress=False)
    before = digest(out)
    monkeypatch.setattr(sample, "_block", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sample.write(out, patches=2, progress=False)
    assert digest(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("content", [{"notes.txt": "mine"}, {"stand-in.json": "{}"}, {"stand-in.json": "[1]"}])
def test_a_foreign_folder_is_refused(tmp_path, content):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="not a stand-in"):
        sample.write(tmp_path, patches=1, progress=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == content


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "data").write_text("mine")
    with pytest.raises(InputError, match="not a stand-in"):
        sample.write(tmp_path / "data", patches=1, progress=False)
    assert (tmp_path / "data").read_text() == "mine"


@pytest.mark.parametrize("patches", [0, -3, 3800])
def test_impossible_numbers_of_patches(tmp_path, patches):
    with pytest.raises(UsageError, match="1 to 3799"):
        sample.write(tmp_path / "data", patches=patches, progress=False)
    assert not list(tmp_path.iterdir())
