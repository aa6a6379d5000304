"""From stored numbers to what a model sees: batches on a device, normalisation, PCA, resizing."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

ROWS_AT_ONCE = 64  # patches read together while statistics are taken


def _moments(patches, rows, bands):
    """Mean (C,) and covariance (C, C) of the values over all pixels of the rows, float64."""
    channels, divisors = patches.channels(bands), patches.divisors(bands)
    total, products, pixels = np.zeros(len(channels)), np.zeros((len(channels),) * 2), 0
    for start in range(0, len(rows), ROWS_AT_ONCE):
        block = patches.images[np.sort(rows)[start : start + ROWS_AT_ONCE]][:, channels]
        # centred near 1, where every band's values lie, so that the squares keep their digits
        flat = block.transpose(1, 0, 2, 3).reshape(len(channels), -1) / divisors[:, None] - 1
        total += flat.sum(axis=1)
        products += flat @ flat.T
        pixels += flat.shape[1]
    mean = total / pixels
    return mean + 1, products / pixels - np.outer(mean, mean)


class Inputs(nn.Module):
    """Values (N, C, H, W) in the files' units -> standardised model input, resized to `size`.

    With `components`, the standardised bands are reduced to that many principal components, each
    of unit variance. The buffers are stored with the model, so that a run carries its own units.
    """

    def __init__(self, channels, size, components=None):
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        if components:
            self.register_buffer("components", torch.zeros(components, channels))

    @property
    def channels(self):
        """Channels that the model receives."""
        return len(self.components) if hasattr(self, "components") else len(self.mean)

    def fit(self, patches, rows, bands):
        """Take mean, spread and components from the training rows only; returns self."""
        mean, covariance = _moments(patches, rows, bands)
        std = np.sqrt(np.diag(covariance).clip(min=0))
        std[std < 1e-6] = 1  # a constant band becomes zero, not infinite
        self.mean.copy_(torch.from_numpy(mean))
        self.std.copy_(torch.from_numpy(std))
        if hasattr(self, "components"):
            values, vectors = np.linalg.eigh(covariance / np.outer(std, std))
            largest = np.argsort(values)[::-1][: len(self.components)]
            axes = vectors[:, largest].T
            axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
            scaled = axes / np.sqrt(values[largest].clip(min=1e-12))[:, None]
            self.components.copy_(torch.from_numpy(scaled))
        return self

    def forward(self, values):
        x = (values - self.mean[:, None, None]) / self.std[:, None, None]
        if hasattr(self, "components"):
            x = torch.einsum("kc,nchw->nkhw", self.components, x)
        return resize_images(x, self.size)


def resize_images(images, size):
    """Bilinear to (size, size); (N, C, H, W) float."""
    if images.shape[-1] == size:
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)


def resize_masks(masks, size):
    """Nearest neighbour to (size, size); (N, H, W) integers."""
    if masks.shape[-1] == size:
        return masks
    return functional.interpolate(masks[:, None].float(), size=(size, size), mode="nearest")[:, 0].to(masks.dtype)


class Batches:
    """Batches of one part of a split, made on the device: no worker processes, no Python per patch.

    Yields dicts: `values` (N, C, 128, 128) float32 in the files' units, `masks` (N, 128, 128)
    int64, `step`, the batch's number in the epoch. On a GPU with room for it the part lies in the GPU's memory as it is
    stored; otherwise each batch is read from the memory map. `epoch`, if given, is called when an
    epoch starts: then patches are shuffled by (seed, epoch) and the last incomplete batch is
    dropped, unless it is the only one.
    """

    def __init__(self, patches, rows, bands, batch_size, device="cpu", seed=0, epoch=None):
        self.rows, self.batch_size, self.device = np.asarray(rows), batch_size, torch.device(device)
        self.patches, self.channels = patches, patches.channels(bands)
        self.divisors = torch.tensor(patches.divisors(bands), dtype=torch.float32, device=device)[:, None, None]
        self.seed, self.epoch = seed, epoch
        self.resident = self._resident()

    def _resident(self):
        """All rows as tensors on the GPU, or None where they do not fit or there is no GPU."""
        if self.device.type != "cuda":
            return None
        size = len(self.rows) * len(self.channels) * self.patches.images[0, 0].nbytes
        if size > torch.cuda.mem_get_info(self.device)[0] / 3:
            return None
        return [part.to(self.device) for part in self._read(self.rows)]

    def _read(self, rows):
        # sorted reading follows the file on the disk; the order of the batch is restored afterwards
        order = np.argsort(rows)
        back = np.argsort(order)
        images = self.patches.images[rows[order]][back][:, self.channels]
        masks = self.patches.masks[rows[order]][back]
        return torch.from_numpy(images), torch.from_numpy(masks)

    def _order(self):
        if self.epoch is None:
            return np.arange(len(self.rows))
        return np.random.default_rng([self.seed, self.epoch()]).permutation(len(self.rows))

    def __len__(self):
        whole, rest = divmod(len(self.rows), self.batch_size)
        return whole + bool(rest) if self.epoch is None else max(whole, 1)

    def __iter__(self):
        order = self._order()
        for step in range(len(self)):
            picked = order[step * self.batch_size : (step + 1) * self.batch_size]
            if self.resident:
                index = torch.from_numpy(picked).to(self.device)
                images, masks = (part[index] for part in self.resident)
            else:
                images, masks = (part.to(self.device) for part in self._read(self.rows[picked]))
            yield {"values": images.float() / self.divisors, "masks": masks.long(), "step": step}
