import json
import shutil

import h5py
import numpy as np
import pytest

from l4s_utils import bands, patches
from l4s_utils.errors import InputError


def _image(seed=0):
    raw = np.random.default_rng(seed).integers(0, 3000, (128, 128, 14))
    return raw / bands.raw_means("ALL")


def _write(path, key, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=array, **options)


def _data(root, numbers=(2, 10), layout=("TrainData/img", "TrainData/mask"), dtype=np.float64, masks=True, **options):
    """Patches whose mask has its own number of landslide pixels, so that mixed pairs show."""
    for n in numbers:
        _write(root / layout[0] / f"image_{n}.h5", "img", _image(n).astype(dtype), **options)
        if masks:
            mask = np.zeros((128, 128), np.uint8)
            mask.flat[:n] = 1
            _write(root / layout[1] / f"mask_{n}.h5", "mask", mask, **options)
    return root


def test_values_come_back_bit_for_bit(folder, packed):
    opened = patches.open_set(packed)
    assert opened.images.dtype == np.uint16
    for row in (0, 7, 23):
        file = folder / f"TrainData/img/image_{opened.ids[row]}.h5"
        assert np.array_equal(opened.values(row)[0].transpose(1, 2, 0), patches.read_image(file))


@pytest.mark.parametrize("options", [{}, {"dtype": np.float32}, {"compression": "gzip"}])
def test_float32_and_compressed_files_are_packed_losslessly(tmp_path, options):
    root = _data(tmp_path / "data", **options)
    opened = patches.pack(root, tmp_path / "set")
    assert opened.images.dtype == np.uint16
    expected = patches.read_image(root / "TrainData/img/image_10.h5")
    values = opened.values(1)[0].transpose(1, 2, 0)
    assert values.dtype == options.get("dtype", np.float64)
    assert np.array_equal(values, expected)


def test_values_that_are_no_integers_become_float32_and_it_says_so(tmp_path, capsys):
    root = _data(tmp_path / "data")
    _write(root / "TrainData/img/image_10.h5", "img", _image() + 0.01)
    opened = patches.pack(root, tmp_path / "set")
    assert opened.images.dtype == np.float32
    assert "float32" in capsys.readouterr().err
    assert np.allclose(opened.values(1)[0].transpose(1, 2, 0), _image() + 0.01, rtol=1e-6)


def test_pairs_by_number_not_by_sorted_name(tmp_path):
    opened = patches.pack(_data(tmp_path / "data", numbers=(10, 2, 1)), tmp_path / "set")
    assert opened.ids.tolist() == [1, 2, 10]
    assert opened.masks.sum(axis=(1, 2)).tolist() == [1, 2, 10]


def test_the_mirror_layout_with_stray_images_among_its_masks(tmp_path):
    root = _data(tmp_path, layout=("images/train", "annotations/train"))
    shutil.copy(root / "images/train/image_2.h5", root / "annotations/train/image_99.h5")
    assert [source.id for source in patches.files(root)] == [2, 10]
    assert patches.check(root) == []


def test_masks_may_be_absent_for_a_whole_split_but_not_for_one_patch(tmp_path):
    without = patches.pack(_data(tmp_path / "a", masks=False), tmp_path / "set")
    assert without.masks is None
    root = _data(tmp_path / "b")
    (root / "TrainData/mask/mask_10.h5").unlink()
    with pytest.raises(InputError, match="image_10.h5: no mask_10.h5"):
        patches.pack(root, tmp_path / "set2")
    assert not (tmp_path / "set2").exists()


def _cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def _link(path):
    path.unlink()
    with h5py.File(path, "w") as file:
        file["img"] = h5py.ExternalLink("other.h5", "img")


def _external(path):
    """The numbers lie in another file, here one that could be read."""
    path.with_suffix(".raw").write_bytes(_image().tobytes())
    path.unlink()
    with h5py.File(path, "w") as file:
        external = [(str(path.with_suffix(".raw")), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("img", (128, 128, 14), np.float64, external=external)


BROKEN = {
    "truncated": ("img", _cut, "not readable as HDF5"),
    "empty": ("img", lambda p: p.write_bytes(b""), "not readable as HDF5 .0 bytes"),
    "text": ("img", lambda p: p.write_text("hello"), "not readable as HDF5"),
    "key": ("img", lambda p: _write(p, "image", _image()), "no dataset 'img', found image"),
    "shape": ("img", lambda p: _write(p, "img", _image()[..., :13]), r"\(128, 128, 13\)"),
    "type": ("img", lambda p: _write(p, "img", _image().astype(int)), "int64"),
    "nan": ("img", lambda p: _write(p, "img", np.where(_image() > 1, np.nan, 0)), "NaN or infinite"),
    "link": ("img", _link, "is a link to somewhere else"),
    "external": ("img", _external, "holds no data of its own"),
    "group": ("img", lambda p: _write(p, "img/img", _image()), "holds no data of its own"),
    "mask value": ("mask", lambda p: _write(p, "mask", np.full((128, 128), 2, np.uint8)), "mask values 2"),
    "mask type": ("mask", lambda p: _write(p, "mask", np.zeros((128, 128))), "float64"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_check_names_each_broken_file(tmp_path, name):
    kind, breaks, words = BROKEN[name]
    root = _data(tmp_path)
    broken = root / "TrainData" / kind / f"{'image' if kind == 'img' else 'mask'}_10.h5"
    breaks(broken)
    (problem,) = patches.check(root)
    assert problem.startswith(str(broken)) and "\n" not in problem
    with pytest.raises(InputError, match=words):
        (patches.read_image if kind == "img" else patches.read_mask)(broken)


def test_check_names_missing_partners(tmp_path):
    root = _data(tmp_path, numbers=(1, 2, 3))
    (root / "TrainData/mask/mask_1.h5").unlink()
    (root / "TrainData/img/image_3.h5").unlink()
    problems = patches.check(root)
    assert len(problems) == 2
    assert "image_1.h5" in problems[0] and "mask_1.h5, is missing" in problems[0]
    assert "mask_3.h5" in problems[1] and "image_3.h5, is missing" in problems[1]


def test_nothing_to_check_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no image_N.h5"):
        patches.check(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        patches.check(tmp_path / "absent")


def _edited(packed, tmp_path):
    return shutil.copytree(packed, tmp_path / "copy")


def test_a_flipped_byte_in_a_packed_set_is_found(packed, tmp_path):
    assert patches.check(packed) == []
    copy = _edited(packed, tmp_path)
    content = bytearray((copy / "images.npy").read_bytes())
    content[-1000] ^= 1
    (copy / "images.npy").write_bytes(content)
    assert "hash" in patches.check(copy)[0]


@pytest.mark.parametrize(
    "change, words",
    [({"version": 99}, "version 99, expected"), ({"patches": 5}, "set.json says"), ({"bands": ["B99"]}, "B99")],
)
def test_a_packed_set_edited_by_hand_is_refused(packed, tmp_path, change, words):
    copy = _edited(packed, tmp_path)
    header = json.loads((copy / "set.json").read_text()) | change
    (copy / "set.json").write_text(json.dumps(header))
    with pytest.raises(InputError, match=words):
        patches.open_set(copy)


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}'])
def test_a_header_that_is_none_is_refused_in_one_line(packed, tmp_path, text):
    copy = _edited(packed, tmp_path)
    (copy / "set.json").write_text(text)
    with pytest.raises(InputError, match="set.json.*pack"):
        patches.open_set(copy)
    (problem,) = patches.check(copy)
    assert "set.json" in problem and "\n" not in problem


def test_packing_that_breaks_off_leaves_nothing_that_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(patches, "workspace", lambda: tmp_path)
    root = _data(tmp_path / "data")

    def break_off(path):
        raise RuntimeError("power cut")

    with monkeypatch.context() as broken:
        broken.setattr(patches, "read_mask", break_off)
        with pytest.raises(RuntimeError, match="power cut"):
            patches.load(root)
    made = tmp_path / "data" / "packed"
    assert [path.suffix for path in made.iterdir()] == [".lock"]
    # what a killed process leaves: everything but the last step
    done = patches.load(root)
    (packed,) = (path.parent for path in made.glob("*/set.json"))
    packed.rename(made / f".{packed.name}.1.partial")
    assert patches.load(root).hash == done.hash and patches.is_packed(packed)


def test_a_half_written_set_is_not_opened(packed, tmp_path):
    copy = _edited(packed, tmp_path)
    (copy / "images.npy").write_bytes((copy / "images.npy").read_bytes()[:-10])
    with pytest.raises(InputError, match="images.npy"):
        patches.open_set(copy)
    (copy / "set.json").unlink()
    with pytest.raises(InputError, match="no packed set"):
        patches.open_set(copy)


def test_pack_leaves_foreign_folders_alone(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="is no packed set"):
        patches.pack(folder, tmp_path / "mine")


def test_a_folder_is_packed_once_and_again_when_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(patches, "workspace", lambda: tmp_path)
    root = _data(tmp_path / "data")
    first = patches.load(root)
    (made,) = (tmp_path / "data" / "packed").glob("train-*/set.json")
    written = made.stat().st_mtime_ns
    assert patches.load(root).hash == first.hash
    assert made.stat().st_mtime_ns == written
    _write(root / "TrainData/img/image_10.h5", "img", _image(99))
    assert patches.load(root).hash != first.hash


def test_a_packed_set_serves_as_data_and_names_missing_bands(packed):
    opened = patches.load(packed)
    assert opened.name == "stand-in data" and opened.tiles is not None
    assert opened.channels("RGB") == [3, 2, 1]
    few = patches.PatchSet(**{**vars(opened), "bands": ("B4", "B3", "B2")})
    with pytest.raises(InputError, match="no band B8, slope"):
        few.channels(["B4", "B8", "slope"])
    with pytest.raises(InputError, match="a packed set of train, but test is needed"):
        patches.load(packed, "test")


def test_the_hash_follows_the_content_alone(tmp_path):
    a = patches.pack(_data(tmp_path / "a"), tmp_path / "set_a")
    b = patches.pack(_data(tmp_path / "b", compression="gzip"), tmp_path / "set_b")
    assert a.hash == b.hash
    mask = np.zeros((128, 128), np.uint8)
    _write(tmp_path / "b/TrainData/mask/mask_10.h5", "mask", mask)
    assert patches.pack(tmp_path / "b", tmp_path / "set_b").hash != a.hash


def test_rows_find_ids_in_any_order_and_name_a_missing_one(packed):
    opened = patches.open_set(packed)
    assert opened.ids[opened.rows([20, 3, 24])].tolist() == [20, 3, 24]
    with pytest.raises(InputError, match="no patch with id 99"):
        opened.rows([1, 99])
