"""Seconds to pack HDF5 files, beside reading the same files with h5py alone, and to open the set."""

import statistics
import tempfile
import time
from pathlib import Path

import h5py

from l4s_utils import patches, sample

REPEATS = 3


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def read_all(root):
    for source in patches.files(root):
        for path, key in ((source.image, "img"), (source.mask, "mask")):
            with h5py.File(path) as file:
                file[key][()]


def main():
    with tempfile.TemporaryDirectory() as scratch:
        root = sample.write(Path(scratch) / "sample", patches=200, progress=False)
        out = Path(scratch) / "set"
        read_all(root)  # so that both find the files in the page cache
        pairs = [
            (seconds(lambda: read_all(root)), seconds(lambda: patches.pack(root, out)))
            for _ in range(REPEATS)
        ]  # fmt: skip
        reading, packing = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"reading 200 patches {reading:.2f} s, packing {packing:.2f} s, ratio {packing / reading:.2f}")
        opening = statistics.median(seconds(lambda: patches.open_set(out)) for _ in range(REPEATS))
        print(f"opening the packed set {1000 * opening:.1f} ms")


if __name__ == "__main__":
    main()
