"""Augmentation of a batch on its device; each patch is drawn independently.

The draw follows from (seed, epoch, step) alone, so a run that is resumed sees the same patches
as one that never stopped, on any device.
"""

from functools import partial

import numpy as np
import torch

from l4s_utils.bands import SENTINEL2, names
from l4s_utils.errors import InputError, choose

AUGMENTATIONS = ("none", "paper")

# The paper does not give ColorJitter's strengths: factors are uniform in [1 - s, 1 + s].
BRIGHTNESS = 0.2
CONTRAST = 0.2


def build_augment(name: str, bands):
    """A function `augment(images, masks, seed=0, epoch=0, step=0) -> (images, masks)`.

    name: one of `AUGMENTATIONS`; bands: a band set or band names, in the images' channel order.
    Raises UsageError for an unknown name or band.
    Source: paper, section 3 (augmentations).
    """
    choose("augmentation", name, AUGMENTATIONS)
    sentinel2 = torch.tensor([band in SENTINEL2 for band in names(bands)])
    return partial(_paper, sentinel2) if name == "paper" else _none


def _none(images, masks, seed=0, epoch=0, step=0):
    return images, masks


# Plain torch and not kornia 0.9: its transforms draw from the global generator, its ColorJiggle wants
# three channels and clips to [0, 1], and its rotation by 90 degrees resamples.
def _paper(sentinel2, images, masks, seed=0, epoch=0, step=0):
    """Flips, rotation by a multiple of 90 degrees, and jitter of the Sentinel-2 bands.

    Flips left-right and up-down have probability 1/2 each, the four rotations 1/4 each.

    sentinel2: bool (C,); images: (N, C, H, W) floating, in the files' units, not normalised;
    masks: (N, H, W) integer, on the images' device. Returns new tensors, nothing is clipped.
    Raises InputError if a patch is not square or has another number of bands.
    """
    _check(sentinel2, images, masks)
    draw = _draw(len(images), seed, epoch, step)
    images = _jitter(images, sentinel2, draw["brightness"], draw["contrast"])
    return _turn(images, draw), _turn(masks, draw)


def _check(sentinel2, images, masks):
    n, bands, height, width = images.shape
    if bands != len(sentinel2):
        raise InputError(f"images have {bands} bands, the augmentation was built for {len(sentinel2)}")
    if height != width:
        raise InputError(f"patches are {height} x {width} pixels: rotation by 90 degrees needs square ones")
    if masks.shape != (n, height, width):
        raise InputError(f"masks are {tuple(masks.shape)}, the images need {(n, height, width)}")


def _draw(n, seed, epoch, step):
    """What happens to each of n patches: NumPy arrays (n,), from the three numbers alone.

    flip_x: left-right; flip_y: up-down; quarters: of a turn, 0 to 3, counter-clockwise;
    brightness, contrast: factors.
    """
    uniform = np.random.default_rng([seed, epoch, step]).random((n, 5)).T
    return {
        "flip_x": uniform[0] < 0.5,
        "flip_y": uniform[1] < 0.5,
        "quarters": (4 * uniform[2]).astype(int),
        "brightness": 1 + BRIGHTNESS * (2 * uniform[3] - 1),
        "contrast": 1 + CONTRAST * (2 * uniform[4] - 1),
    }


def _turn(x, draw):
    """Flip, then rotate, each patch of x (N, ..., H, H)."""
    # Two flips are half a turn, so the 16 draws are the 8 symmetries of a square: one operation for
    # all patches that share one.
    symmetry = (draw["flip_x"] ^ draw["flip_y"]) * 4 + (draw["quarters"] + 2 * draw["flip_y"]) % 4
    out = torch.empty_like(x)
    for value in np.unique(symmetry):
        chosen = torch.from_numpy(np.flatnonzero(symmetry == value)).to(x.device)
        patches = x[chosen].flip(-1) if value >= 4 else x[chosen]
        out[chosen] = patches.rot90(int(value) % 4, (-2, -1))
    return out


def _jitter(images, sentinel2, brightness, contrast):
    """Brightness, then contrast about the mean of each band of the patch; terrain bands stay as they are.

    With factors b and c and mean m this is b * (m + c * (x - m)) = b * c * x + b * (1 - c) * m,
    the same in either order.
    """

    def column(values):
        return torch.from_numpy(values).to(images)[:, None, None, None]

    jittered = sentinel2.to(images.device)[:, None, None]
    gain = torch.where(jittered, column(brightness * contrast), 1)
    shift = torch.where(jittered, column(brightness * (1 - contrast)) * images.mean((2, 3), keepdim=True), 0)
    return torch.addcmul(shift, images, gain)
