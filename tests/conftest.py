"""Shared data: one small stand-in, packed once, for all tests."""

from pathlib import Path

import pytest
import torch

from l4s_utils import patches, sample

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


torch.set_num_threads(1)  # on a busy machine two threads wait for each other longer than they work


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    for name in ("DATA", "PRESET", "RUNS", "FIGURES", "SEEDS"):
        monkeypatch.delenv(f"L4S_{name}", raising=False)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """24 stand-in patches in the real layout; read only."""
    return sample.write(tmp_path_factory.mktemp("data") / "sample", patches=24, seed=0, progress=False)


@pytest.fixture(scope="session")
def packed(folder, tmp_path_factory):
    """The same patches as a packed set; returns its folder. Read only."""
    out = tmp_path_factory.mktemp("packed") / "set"
    patches.pack(folder, out)
    return out
