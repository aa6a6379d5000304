"""Landslide4Sense patches: HDF5 files on disk, and the packed set that everything else reads.

Two layouts are read: `TrainData/{img,mask}` as the organisers publish it, and the Hugging Face
mirror's `images|annotations/train`. Images and masks are paired by the number in their names.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pandas as pd
from filelock import FileLock
from tqdm import tqdm

from l4s_utils import bands as band_table
from l4s_utils.errors import InputError, choose

SIZE = 128  # pixels on each side of a patch
VERSION = 1  # of the packed set's format
FOLDERS = {  # split: its folder in the organisers' layout, in the mirror's layout
    "train": ("TrainData", "train"),
    "valid": ("ValidData", "validation"),
    "test": ("TestData", "test"),
}
STAND_IN_MARK = "stand-in.json"


class Files(NamedTuple):
    """The files of one patch; `mask` is None where the split has no masks."""

    id: int
    image: Path
    mask: Path | None


# --- one file -----------------------------------------------------------------------------------


def _read(path, key, shape, kinds, expected):
    """Array `key` of an HDF5 file, its header checked before any data is read."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with h5py.File(path) as file:
            if key not in file:
                found = ", ".join(list(file)[:5]) or "nothing"
                raise InputError(f"{path}: no dataset {key!r}, found {found}; expected {expected}")
            if not isinstance(file.get(key, getlink=True), h5py.HardLink):
                raise InputError(f"{path}: {key!r} is a link to somewhere else; expected {expected}")
            data = file[key]
            if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
                raise InputError(f"{path}: {key!r} holds no data of its own; expected {expected}")
            if data.shape != shape or data.dtype.kind not in kinds:
                raise InputError(f"{path}: {key!r} is {data.shape} {data.dtype}; expected {expected}")
            return data[()]
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        size = path.stat().st_size if path.exists() else 0
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not readable as HDF5 ({size:,} bytes; {reason})") from None


def read_image(path) -> np.ndarray:
    """Image of one patch in the file's units (raw integer / raw mean), float64 (128, 128, 14).

    Raises InputError naming the file if it is missing, truncated, not HDF5, without the key
    `img`, of another shape or type, or not finite.
    """
    shape = (SIZE, SIZE, len(band_table.BANDS))
    image = _read(path, "img", shape, "f", f"floats {shape}")
    if not np.isfinite(image).all():
        raise InputError(f"{path}: {np.sum(~np.isfinite(image)):,} values are NaN or infinite; expected none")
    return image.astype(np.float64, copy=False)


def read_mask(path) -> np.ndarray:
    """Mask of one patch, 1 = landslide, uint8 (128, 128). Raises InputError as `read_image` does."""
    mask = _read(path, "mask", (SIZE, SIZE), "uib", f"integers 0 or 1, ({SIZE}, {SIZE})")
    if not np.isin(mask, (0, 1)).all():
        found = ", ".join(map(str, np.unique(mask)[:5]))
        raise InputError(f"{path}: mask values {found}; expected 0 and 1")
    return mask.astype(np.uint8, copy=False)


# --- a data folder ------------------------------------------------------------------------------


def _numbered(folder, stem):
    """Files `stem_N.h5` of a folder by their N; other names are strays and ignored."""
    found = {}
    for path in sorted(folder.glob("*.h5")) if folder.is_dir() else ():
        if match := re.fullmatch(rf"{stem}_(\d+)\.h5", path.name):
            number = int(match[1])
            if number in found:
                raise InputError(f"{path}: the same number as {found[number].name}; keep one of the two")
            found[number] = path
    return found


def _locate(root, split):
    """Images and masks of a split by number, in whichever layout the folder has."""
    official, mirror = FOLDERS[choose("split of the data", split, FOLDERS)]
    for images, masks in (
        (root / official / "img", root / official / "mask"),
        (root / "images" / mirror, root / "annotations" / mirror),
    ):
        if images.is_dir() or masks.is_dir():
            return _numbered(images, "image"), _numbered(masks, "mask")
    return {}, {}


def _existing(root):
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give one that holds TrainData/img or images/train, or a packed set")
    return root


def _none_found(root, split):
    official, mirror = FOLDERS[split]
    return InputError(f"{root}: no image_N.h5 in {official}/img or images/{mirror}")


def files(root, split="train") -> list[Files]:
    """Files of a split, sorted by number.

    Raises InputError if the folder has no images of this split, or masks for some of them only.
    """
    root = _existing(root)
    images, masks = _locate(root, split)
    if not images:
        raise _none_found(root, split)
    if masks and (lacking := [n for n in images if n not in masks]):
        raise InputError(
            f"{images[lacking[0]]}: no mask_{lacking[0]}.h5 ({len(lacking)} of {len(images)} images "
            "lack their mask); `l4s check` lists them all"
        )
    return [Files(number, images[number], masks.get(number)) for number in sorted(images)]


def _problem(reader, path):
    try:
        reader(path)
    except InputError as error:
        return str(error)


def check(root) -> list[str]:
    """Read every file of a data folder or packed set; one line for each that is broken, [] if none.

    Raises InputError if there is nothing to check.
    """
    root = _existing(root)
    if is_packed(root):
        return _check_packed(root)
    problems, seen = [], 0
    for split in FOLDERS:
        images, masks = _locate(root, split)
        seen += len(images) + len(masks)
        for number, path in tqdm(sorted(images.items()), desc=f"check {split}", unit="patch", disable=None):
            problems.append(_problem(read_image, path))
            if number in masks:
                problems.append(_problem(read_mask, masks[number]))
            elif masks:
                problems.append(f"{path}: its mask, mask_{number}.h5, is missing")
        problems += [f"{masks[n]}: its image, image_{n}.h5, is missing" for n in sorted(masks.keys() - images)]
    if not seen:
        raise InputError(f"{root}: no image_N.h5 in any of TrainData/img, images/train and their like")
    return [problem for problem in problems if problem]


# --- a packed set -------------------------------------------------------------------------------


@dataclass(frozen=True)
class PatchSet:
    """Patches of one split, memory-mapped.

    images: (N, C, 128, 128), uint16 raw integers, or float32 in the files' units.
    masks: (N, 128, 128) uint8, 1 = landslide, or None.
    ids: (N,) int64, the numbers in the files' names. bands: C names.
    name: which data this is, for figures. hash: of the content, for a run's identity.
    tiles: DataFrame (id, scene, row, column) or None.
    """

    images: np.ndarray
    masks: np.ndarray | None
    ids: np.ndarray
    bands: tuple[str, ...]
    name: str
    hash: str
    split: str
    value_dtype: str
    tiles: pd.DataFrame | None = None

    def __len__(self):
        return len(self.ids)

    def channels(self, bands: str | Iterable[str]) -> list[int]:
        """Positions of the bands on axis 1; InputError names those the set lacks."""
        wanted = band_table.names(bands)
        if lacking := [name for name in wanted if name not in self.bands]:
            raise InputError(
                f"{self.name}: no band {', '.join(lacking)}; the set holds {', '.join(self.bands)}. "
                "Choose an experiment on these bands or a set that has them"
            )
        return [self.bands.index(name) for name in wanted]

    def divisors(self, bands=None) -> np.ndarray:
        """What stored numbers are divided by to give the files' values, float64 (C,)."""
        means = band_table.raw_means(bands or self.bands)
        return means if self.images.dtype == np.uint16 else np.ones_like(means)

    def rows(self, ids) -> np.ndarray:
        """Row of each id; InputError if one is not in the set."""
        order = np.argsort(self.ids)
        at = np.searchsorted(self.ids[order], ids).clip(max=len(self) - 1)
        rows = order[at]
        if len(missing := np.asarray(ids)[self.ids[rows] != ids]):
            raise InputError(f"{self.name}: no patch with id {missing[0]} ({len(missing)} ids are missing)")
        return rows

    def values(self, rows, bands=None) -> np.ndarray:
        """Values as in the files, (n, C, 128, 128), of the files' own float type."""
        bands = bands or self.bands
        raw = self.images[np.atleast_1d(rows)][:, self.channels(bands)]
        return (raw / self.divisors(bands)[:, None, None]).astype(self.value_dtype)


def is_packed(path) -> bool:
    """Whether the folder is a packed set."""
    return (Path(path) / "set.json").is_file()


def _exact_integers(image, value_dtype):
    """The raw integers (C, H, W) uint16 of a file's image, or None if they do not give it back.

    Float32 files carry rounded quotients: they count as given back if the quotients round the same.
    """
    means = band_table.raw_means("ALL")
    raw = image * means
    np.rint(raw, out=raw)
    if raw.min() < 0 or raw.max() > np.iinfo(np.uint16).max:
        return None
    quotients = (raw / means).astype(value_dtype, copy=False)
    if not np.array_equal(quotients.astype(np.float64, copy=False), image):
        return None
    return raw.astype(np.uint16).transpose(2, 0, 1)


def _convert(sources, images, masks, digest, value_dtype):
    """Fill the arrays from the files; False at the first patch that uint16 cannot hold."""
    for row, source in enumerate(tqdm(sources, desc="pack", unit="patch", disable=None)):
        image = read_image(source.image)
        if images.dtype == np.uint16:
            stored = _exact_integers(image, value_dtype)
            if stored is None:
                return False
        else:
            stored = image.transpose(2, 0, 1).astype(np.float32)
        images[row] = stored
        digest.update(np.ascontiguousarray(images[row]).data)
        if source.mask:
            masks[row] = read_mask(source.mask)
            digest.update(np.ascontiguousarray(masks[row]).data)
    return True


def data_name(root) -> str:
    """Which data a folder holds: the stand-in carries a mark, anything else is taken as real."""
    mark = Path(root) / STAND_IN_MARK
    return "stand-in data" if mark.is_file() else "Landslide4Sense"


def _value_dtype(path):
    """Float type of the values in an image file."""
    read_image(path)
    with h5py.File(path) as file:
        return "float32" if file["img"].dtype.itemsize == 4 else "float64"


def write_set(out, ids, bands, name, split, fill, has_masks, value_dtype="float64", tiles=None):
    """Write a packed set aside and put it in place in one step.

    fill(images, masks, digest) fills the memory maps and returns False if uint16 cannot hold them;
    then it is called again with float32 images. Returns the opened PatchSet.
    """
    out = Path(out)
    if out.exists() and not is_packed(out):
        raise InputError(f"{out}: exists and is no packed set; choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        for dtype in ("uint16", "float32"):
            header = {"name": name, "bands": list(bands), "dtype": dtype, "value_dtype": value_dtype}
            digest = hashlib.sha256(json.dumps(header).encode() + np.asarray(ids, "<i8").tobytes())
            shape = (len(ids), len(bands), SIZE, SIZE)
            images = np.lib.format.open_memmap(aside / "images.npy", "w+", dtype, shape)
            masks = (
                np.lib.format.open_memmap(aside / "masks.npy", "w+", "uint8", (len(ids), SIZE, SIZE))
                if has_masks
                else None
            )
            if fill(images, masks, digest) is not False:
                break
            tqdm.write("pack: values are no integers over the band means; stored as float32", file=sys.stderr)
        del images, masks
        np.save(aside / "ids.npy", np.asarray(ids, np.int64))
        if tiles is not None:
            tiles.to_csv(aside / "tiles.csv", index=False)
        header |= {
            "version": VERSION,
            "split": split,
            "patches": len(ids),
            "units": {b: band_table.BY_NAME[b].unit if dtype == "uint16" else "raw / raw mean" for b in bands},
            "raw_means": {b: band_table.BY_NAME[b].raw_mean for b in bands},
            "masks": has_masks,
            "hash": digest.hexdigest(),
        }
        (aside / "set.json").write_text(json.dumps(header, indent=1))
        if out.exists():
            old = out.with_name(f".{out.name}.{os.getpid()}.old")
            out.rename(old)
            aside.rename(out)
            shutil.rmtree(old)
        else:
            aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return open_set(out)


def read_tiles(root) -> pd.DataFrame | None:
    """`tiles.csv` of a folder (id, scene, row, column), or None if it has none."""
    path = Path(root) / "tiles.csv"
    if not path.is_file():
        return None
    columns = ["id", "scene", "row", "column"]
    try:
        return pd.read_csv(path)[columns].astype(int)
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: expected integer columns {', '.join(columns)} ({error})") from None


def pack(root, out, split="train") -> PatchSet:
    """Pack the HDF5 files of a split, each patch verified to give its file's values back.

    Images become uint16 raw integers; where that loses anything, the whole set is float32 and a
    line says so. Raises InputError naming the first file that cannot be read.
    """
    sources = files(root, split)
    value_dtype = _value_dtype(sources[0].image)
    return write_set(
        out,
        ids=[source.id for source in sources],
        bands=band_table.names("ALL"),
        name=data_name(root),
        split=split,
        fill=lambda images, masks, digest: _convert(sources, images, masks, digest, value_dtype),
        has_masks=sources[0].mask is not None,
        value_dtype=value_dtype,
        tiles=read_tiles(root) if split == "train" else None,
    )


def _header(path):
    path = Path(path)
    if not is_packed(path):
        raise InputError(f"{path}: no packed set (no set.json); make one with `l4s pack DATA OUT`")
    try:
        header = json.loads((path / "set.json").read_text())
        version = header["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path / 'set.json'}: not the header of a packed set ({error}); pack again") from None
    if version != VERSION:
        raise InputError(f"{path}: packed set of version {version}, expected {VERSION}; pack the files again")
    return header


def _array(path, dtype, shape):
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({error}); pack the files again") from None
    if array.dtype != dtype or array.shape != shape:
        raise InputError(
            f"{path}: {array.dtype} {array.shape}, but set.json says {dtype} {shape}; pack the files again"
        )
    return array


def open_set(path) -> PatchSet:
    """Open a packed set, memory-mapped. Raises InputError if it is incomplete or of another version."""
    path = Path(path)
    header = _header(path)
    try:
        n, bands = int(header["patches"]), band_table.names(header["bands"])
        fields = {key: str(header[key]) for key in ("name", "hash", "split", "value_dtype")}
        dtype, has_masks = np.dtype(header["dtype"]), bool(header["masks"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path / 'set.json'}: {error!r}; pack the files again") from None
    return PatchSet(
        images=_array(path / "images.npy", dtype, (n, len(bands), SIZE, SIZE)),
        masks=_array(path / "masks.npy", np.dtype("uint8"), (n, SIZE, SIZE)) if has_masks else None,
        ids=np.array(_array(path / "ids.npy", np.dtype("int64"), (n,))),
        bands=bands,
        tiles=read_tiles(path),
        **fields,
    )


def _check_packed(path):
    """Problems of a packed set: its content against the hash in its header."""
    try:
        opened = open_set(path)
    except InputError as error:
        return [str(error)]
    header = _header(path)
    head = {key: header[key] for key in ("name", "bands", "dtype", "value_dtype")}
    digest = hashlib.sha256(json.dumps(head).encode() + opened.ids.astype("<i8").tobytes())
    for row in tqdm(range(len(opened)), desc="check", unit="patch", disable=None):
        digest.update(np.ascontiguousarray(opened.images[row]).data)
        if opened.masks is not None:
            digest.update(np.ascontiguousarray(opened.masks[row]).data)
    if digest.hexdigest() != opened.hash:
        return [f"{path}: its content does not have the hash in set.json; pack the files again"]
    return []


# --- wherever the data lies ---------------------------------------------------------------------


def workspace() -> Path:
    """The repository's root, or the current folder where the package is installed without one."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() else Path.cwd()


def _fingerprint(root, split):
    """Of the names, sizes and times of a split's files, so that a changed folder is packed again."""
    listed = [path for source in files(root, split) for path in source[1:] if path]
    listed += [path for path in (root / "tiles.csv", root / STAND_IN_MARK) if path.is_file()]
    lines = []
    for path in listed:
        stat = path.stat()
        lines.append(f"{path.relative_to(root).as_posix()} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def load(data, split="train") -> PatchSet:
    """The patches of a data folder (packed once, found again) or of a packed set."""
    root = _existing(data)
    if is_packed(root):
        opened = open_set(root)
        if opened.split != split:
            raise InputError(f"{root}: a packed set of {opened.split}, but {split} is needed")
        return opened
    packed = workspace() / "data" / "packed" / f"{split}-{_fingerprint(root, split)}"
    packed.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{packed}.lock"):
        return open_set(packed) if is_packed(packed) else pack(root, packed, split)
