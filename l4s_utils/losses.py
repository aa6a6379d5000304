"""The losses of the study: logits (N, 2, H, W) and target (N, H, W) int64 -> scalar float32.

Class 1 is landslide. Every loss computes in float32 outside autocast, so half-precision logits
and mixed-precision training give finite values.
"""

import torch
from torch import nn
from torch.nn import functional as F

from l4s_utils.errors import choose

LANDSLIDE_WEIGHTS = {"ce": 1, "wce_2": 2, "wce_3": 3, "wce_5": 5, "wce_10": 10}
LOSSES = (*LANDSLIDE_WEIGHTS, "lovasz")


def build_loss(name: str) -> nn.Module:
    """The loss of that name, one of `LOSSES`; raises UsageError for another.

    Source: paper, section 3 (losses) and table 2.
    """
    choose("loss", name, LOSSES)
    return LovaszSoftmax() if name == "lovasz" else CrossEntropy(LANDSLIDE_WEIGHTS[name])


class CrossEntropy(nn.Module):
    """Cross entropy with weight 1 for background and `landslide_weight` for landslide.

    The mean is torch's: the weighted sum over pixels divided by the sum of their weights.
    Source: paper, equation 5, which gives the sum for one pixel and does not state how pixels
    are averaged.
    """

    def __init__(self, landslide_weight: float = 1):
        super().__init__()
        self.landslide_weight = landslide_weight

    def forward(self, logits, target):
        # Written for two classes: torch's own for images has no deterministic version on CUDA.
        with torch.autocast(logits.device.type, enabled=False):
            landslide = target.float()
            weights = 1 + (self.landslide_weight - 1) * landslide
            margin = logits[:, 1].float() - logits[:, 0].float()
            total = F.binary_cross_entropy_with_logits(margin, landslide, weights, reduction="sum")
            return total / weights.sum()


class LovaszSoftmax(nn.Module):
    """`lovasz_softmax` as a module."""

    def forward(self, logits, target):
        return lovasz_softmax(logits, target)


def lovasz_softmax(logits, target):
    """Lovász-softmax over the whole batch, averaged over the classes present in the target.

    logits: (N, 2, H, W) of any floating type; target: (N, H, W) int64, 0 or 1. At most 2**31 - 1 pixels.
    Returns a float32 scalar in [0, 1].

    With two classes p0 = 1 - p1, so a pixel's error |y - p| is the same for both classes and one
    sort serves both.
    Source: paper, section 3; Berman et al. 2018, section 2.
    """
    with torch.autocast(logits.device.type, enabled=False):
        landslide = target.flatten() == 1
        margin = (logits[:, 1].float() - logits[:, 0].float()).flatten()
        # sigmoid(-margin) instead of 1 - sigmoid(margin): exact for small errors too.
        errors = torch.sigmoid(torch.where(landslide, -margin, margin))
        steps = _jaccard_steps(errors.detach(), landslide)
        return (errors * steps).sum()


@torch.no_grad()
def _jaccard_steps(errors, landslide):
    """What each pixel's error counts in the loss, float32 (P,): the gradient of the loss by the errors.

    Taking pixels as wrong one after the other, the largest error first, it is the growth of each
    class's Jaccard loss when the pixel's turn comes, averaged over the classes present.
    With P pixels, of which a landslide and b background pixels are still right after this one:

    - the landslide class has intersection a and union P - b, the background b and P - a;
    - a landslide pixel shrinks the intersection of its own class by one, which costs 1 / (P - b),
      and enlarges the union of the other from P - a - 1 to P - a, which costs b / ((P - a)(P - a - 1));
    - a background pixel the same with a and b exchanged.

    Counts are integers and each step is written as one fraction: a difference of two Jaccard values
    near 1 would lose most of its digits in float32 at millions of pixels.

    errors: float32 (P,) in [0, 1]; landslide: bool (P,).
    """
    # Non-negative floats sort like their bit patterns, and torch sorts integers in ascending order
    # by radix: several times as fast as floats on a CPU. Negative, so that the largest comes first.
    order = torch.sort(-errors.view(torch.int32), stable=True).indices
    hit = landslide[order]
    seen = torch.cumsum(hit, 0, dtype=torch.int32)
    rank = torch.arange(1, hit.numel() + 1, dtype=torch.int32, device=hit.device)
    pixels, landslides = hit.numel(), landslide.sum()
    a = landslides - seen
    b = pixels - landslides - rank + seen
    own, other = torch.where(hit, b, a), torch.where(hit, a, b)
    union_own, union_other = (pixels - own).float(), (pixels - other).float()
    # The clamp is reached only where the other class is absent; its numerator is 0 then.
    steps = 1 / union_own + own / (union_other * (union_other - 1).clamp(min=1))
    present = (landslides > 0).int() + (landslides < pixels).int()
    return torch.empty_like(steps).scatter_(0, order, steps / present)
