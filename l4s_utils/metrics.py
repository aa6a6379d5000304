"""Scores of the landslide class, from counts per patch."""

import numpy as np
import torch
from scipy import stats


def counts(predicted, target):
    """True positives, false positives and false negatives of each patch.

    predicted, target: (N, H, W) integer tensors, 1 = landslide. Returns int64 (N, 3).
    """
    hit, truth = predicted.bool(), target.bool()
    return torch.stack([(hit & truth), (hit & ~truth), (~hit & truth)], dim=1).sum(dim=(2, 3))


def _ratio(above, below):
    """above / below, 0 where below is 0."""
    above, below = np.asarray(above, float), np.asarray(below, float)
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)


def scores(tp, fp, fn) -> dict:
    """Precision, recall, F1 and IoU of the landslide class, in [0, 1].

    Counts are summed over a whole split before dividing: a mean of per-patch F1 would let the many
    empty patches decide.

    tp, fp, fn: pixel counts, int or integer arrays of one shape; scores have that shape.
    Where a ratio is 0 / 0 (nothing predicted, or nothing there) the score is 0; the paper is silent.
    Source: paper, equations 1-4.
    """
    tp, fp, fn = (np.asarray(count) for count in (tp, fp, fn))
    values = {
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "iou": _ratio(tp, tp + fp + fn),
    }
    return {name: value if value.ndim else float(value) for name, value in values.items()}


def bootstrap(counts, level=0.95, draws=5000, seed=0) -> dict:
    """F1 over all patches with a percentile interval from resampling patches.

    counts: (P, 3) integers, columns tp, fp, fn. Returns `f1`, `low`, `high`; the bounds are NaN
    for a single patch, which says nothing about the spread. The interval tells how F1 would vary
    with other patches of the same kind, not with another seed.
    """
    counts = np.asarray(counts)
    f1 = scores(*counts.sum(axis=0))["f1"]
    if len(counts) < 2:
        return {"f1": f1, "low": float("nan"), "high": float("nan")}
    result = stats.bootstrap(
        tuple(counts.T),
        lambda tp, fp, fn, axis=-1: scores(tp.sum(axis), fp.sum(axis), fn.sum(axis))["f1"],
        paired=True,
        vectorized=True,
        confidence_level=level,
        n_resamples=draws,
        batch=500,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return {
        "f1": f1,
        "low": float(result.confidence_interval.low),
        "high": float(result.confidence_interval.high),
    }
