from itertools import product

import numpy as np
import pytest
import torch

from l4s_utils import augment as module
from l4s_utils.augment import AUGMENTATIONS, BRIGHTNESS, CONTRAST, build_augment
from l4s_utils.bands import SENTINEL2, names
from l4s_utils.errors import InputError, UsageError

SQUARE = torch.tensor([[1, 2], [3, 4]])


def batch(n=64, bands="ALL", size=8):
    generator = torch.Generator().manual_seed(1)
    images = 3 * torch.rand(n, len(names(bands)), size, size, generator=generator) - 0.5
    return images, torch.randint(0, 2, (n, size, size), generator=generator, dtype=torch.uint8)


def turned(flip_x=False, flip_y=False, quarters=0):
    """The 2 x 2 square [[1, 2], [3, 4]] after one draw."""
    draw = {"flip_x": np.array([flip_x]), "flip_y": np.array([flip_y]), "quarters": np.array([quarters])}
    return module._turn(SQUARE[None], draw)[0].tolist()


def test_names():
    assert AUGMENTATIONS == ("none", "paper")
    with pytest.raises(UsageError, match="unknown augmentation 'papr': choose from none, paper"):
        build_augment("papr", "ALL")
    with pytest.raises(UsageError, match="unknown band"):
        build_augment("paper", ["B4", "B8A"])


def test_each_flip_and_rotation_of_four_pixels():
    assert turned() == [[1, 2], [3, 4]]
    assert turned(flip_x=True) == [[2, 1], [4, 3]]
    assert turned(flip_y=True) == [[3, 4], [1, 2]]
    assert turned(quarters=1) == [[2, 4], [1, 3]]
    assert turned(quarters=2) == [[4, 3], [2, 1]]
    assert turned(quarters=3) == [[3, 1], [4, 2]]


@pytest.mark.parametrize(("flip_x", "flip_y", "quarters"), product([False, True], [False, True], range(4)))
def test_flips_come_before_the_rotation(flip_x, flip_y, quarters):
    expected = SQUARE.numpy()
    expected = expected[:, ::-1] if flip_x else expected
    expected = expected[::-1] if flip_y else expected
    assert turned(flip_x, flip_y, quarters) == np.rot90(expected, quarters).tolist()


def test_masks_stay_in_step_with_images():
    # Terrain is not jittered, so a mask given as the slope band has to come out equal to the mask.
    images, masks = batch(bands="HEIGHT")
    images[:, 0] = masks
    images, masks = build_augment("paper", "HEIGHT")(images, masks)
    assert torch.equal(images[:, 0], masks.float())
    assert masks.dtype == torch.uint8


def test_all_eight_orientations_are_equally_likely():
    n = 4000
    _, masks = build_augment("paper", "HEIGHT")(torch.zeros(n, 2, 2, 2), SQUARE.expand(n, 2, 2))
    orientations, counts = masks.flatten(1).unique(dim=0, return_counts=True)
    assert len(orientations) == 8
    assert ((counts > 400) & (counts < 600)).all()  # 500 expected, standard deviation 21


def test_the_draw_depends_on_seed_epoch_and_step_alone():
    augment, pair = build_augment("paper", "ALL"), batch()
    first = augment(*pair, seed=3, epoch=2, step=1)
    torch.manual_seed(99)
    np.random.seed(99)
    again = augment(*pair, seed=3, epoch=2, step=1)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    for other in ({"seed": 4}, {"epoch": 3}, {"step": 2}, {"seed": 1, "epoch": 2, "step": 3}):
        images, masks = augment(*pair, **({"seed": 3, "epoch": 2, "step": 1} | other))
        assert not torch.equal(first[0], images) and not torch.equal(first[1], masks)


def test_the_global_generators_and_the_input_are_left_alone():
    images, masks = batch()
    before, torch_state, numpy_state = images.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()
    build_augment("paper", "ALL")(images, masks)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


@pytest.mark.parametrize("bands", ["ALL", "RGB_HEIGHT", "HEIGHT", "RGB", ["elevation", "B2", "slope", "B12"]])
def test_jitter_is_brightness_times_contrast_about_the_mean_of_sentinel2_bands(bands):
    images, masks = batch(bands=bands)
    draw = module._draw(len(images), 5, 6, 7)
    seen, _ = build_augment("paper", bands)(images, masks, seed=5, epoch=6, step=7)
    expected = images.numpy().astype(np.float64)
    for patch, image in enumerate(expected):
        for band, name in enumerate(names(bands)):
            if name in SENTINEL2:
                bright = draw["brightness"][patch] * image[band]
                image[band] = bright.mean() + draw["contrast"][patch] * (bright - bright.mean())
    geometry = {key: draw[key] for key in ("flip_x", "flip_y", "quarters")}
    expected = module._turn(torch.from_numpy(expected), geometry)
    torch.testing.assert_close(seen, expected.float(), rtol=1e-5, atol=1e-5)


def test_slope_and_elevation_keep_their_values():
    images, masks = batch()
    images[0, 12, 0, 0] = float("nan")  # a gap in the terrain stays one pixel
    seen, _ = build_augment("paper", "ALL")(images, masks)
    before, after = (x[:, 12:].flatten(2).sort().values for x in (images, seen))
    assert torch.equal(before.nan_to_num(-1), after.nan_to_num(-1))


def test_one_factor_a_patch_for_all_its_sentinel2_bands():
    # With the mean at zero only the product of both factors is left: the same in every band.
    images = torch.tensor([1.0, -1.0]).repeat(20, 3, 4, 2)
    seen, _ = build_augment("paper", "RGB")(images, torch.zeros(20, 4, 4, dtype=torch.uint8))
    factors = seen.abs().amax((2, 3))
    assert torch.allclose(factors, factors[:, :1].expand_as(factors))
    assert len(factors[:, 0].unique()) == 20


def test_factors_fill_their_range():
    draw = module._draw(5000, 0, 0, 0)
    for key, strength in (("brightness", BRIGHTNESS), ("contrast", CONTRAST)):
        assert 1 - strength <= draw[key].min() < 1 - 0.99 * strength
        assert 1 + strength >= draw[key].max() > 1 + 0.99 * strength
    assert abs(np.corrcoef(draw["brightness"], draw["contrast"])[0, 1]) < 0.05


def test_nothing_is_clipped():
    images, masks = batch()
    seen, _ = build_augment("paper", "ALL")(1000 * images, masks)
    assert seen[:, :12].max() > 2500 and seen[:, :12].min() < -500


def test_the_memory_format_and_the_type_stay():
    images, masks = batch()
    seen, _ = build_augment("paper", "ALL")(images.to(memory_format=torch.channels_last).half(), masks)
    assert seen.is_contiguous(memory_format=torch.channels_last) and seen.dtype == torch.float16


def test_none_returns_its_input():
    images, masks = batch()
    seen = build_augment("none", "ALL")(images, masks, seed=1, epoch=2, step=3)
    assert seen[0] is images and seen[1] is masks


def test_wrong_shapes_are_named():
    augment = build_augment("paper", "RGB")
    with pytest.raises(InputError, match="images have 14 bands, the augmentation was built for 3"):
        augment(*batch())
    with pytest.raises(InputError, match="4 x 8 pixels: rotation by 90 degrees needs square"):
        augment(torch.zeros(2, 3, 4, 8), torch.zeros(2, 4, 8))
    with pytest.raises(InputError, match=r"masks are \(1, 4, 4\), the images need \(2, 4, 4\)"):
        augment(torch.zeros(2, 3, 4, 4), torch.zeros(1, 4, 4))
