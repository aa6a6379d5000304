"""The real pairs, where they lie beside the checkout."""

import numpy as np
import pytest

from l4s_utils import experiments, patches, training
from tests.conftest import REAL

DATA = REAL / "l4s_real"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real data beside the checkout")


def test_every_real_file_is_sound():
    assert patches.check(DATA) == []


def test_the_real_pairs_come_back_bit_for_bit(tmp_path):
    opened = patches.pack(DATA, tmp_path / "set")
    assert opened.images.dtype == np.uint16 and len(opened) == 17 and opened.name == "Landslide4Sense"
    for row, source in enumerate(patches.files(DATA)):
        assert source.id == opened.ids[row]
        assert np.array_equal(opened.values(row)[0].transpose(1, 2, 0), patches.read_image(source.image))
        assert np.array_equal(opened.masks[row], patches.read_mask(source.mask))
    assert opened.ids[opened.masks.sum(axis=(1, 2)) == 0].tolist() == [3, 45]


def test_images_without_masks_are_read():
    tested = patches.files(DATA, "test")
    assert len(tested) == 7 and all(source.mask is None for source in tested)


def test_what_is_known_of_two_real_masks():
    masks = {source.id: patches.read_mask(source.mask) for source in patches.files(DATA)}
    assert 0 < masks[72].sum() < 40
    assert round(100 * masks[512].mean(), 1) == 29.5


@pytest.mark.parametrize("name", experiments.PAPER)
def test_every_row_runs_on_real_pairs(name, tmp_path):
    run = training.run(name, DATA, tmp_path, preset="smoke")
    assert run.config["data_name"] == "Landslide4Sense" and len(run.counts) == 2
