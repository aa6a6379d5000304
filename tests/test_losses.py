import math

import pytest
import torch
from torch.nn import functional as F

from l4s_utils.errors import UsageError
from l4s_utils.losses import LOSSES, build_loss, lovasz_softmax


def logits_of(p1):
    """Logits (1, 2, 1, P) with these landslide probabilities."""
    p1 = torch.tensor(p1, dtype=torch.float64)
    return torch.stack([(1 - p1).log(), p1.log()])[None, :, None].float()


def target_of(*classes):
    return torch.tensor(classes)[None, None]


def jaccard_loss(wrong, foreground):
    """Jaccard loss of a class if the pixels `wrong` are taken for the other class: |M| / |{y = c} or M|."""
    return wrong.sum() / (foreground | wrong).sum()


def lovasz_by_definition(logits, target, classes=(0, 1), descending=True):
    """Lovász extension of the Jaccard loss, float64, a class at a time (Berman et al. 2018, section 2)."""
    probabilities = logits.double().softmax(1)
    losses = []
    for c in classes:
        foreground = (target == c).flatten()
        if not foreground.any():
            continue
        p = probabilities[:, c].flatten()
        errors, order = torch.where(foreground, 1 - p, p).sort(descending=descending)
        inside = foreground[order]
        # Wrong sets grow by one pixel at a time; `jaccard_loss` of each of them, counted cumulatively.
        size = torch.arange(1, len(p) + 1, dtype=torch.float64)
        jaccard = size / (inside.sum() + (~inside).cumsum(0))
        steps = torch.diff(jaccard, prepend=torch.zeros(1, dtype=torch.float64))
        losses.append((errors * steps).sum())
    return torch.stack(losses).mean()


def value_and_gradient(loss, logits, target):
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, target)
    value.backward()
    return value.detach(), logits.grad


def agree(logits, target, reference):
    """Whether value and gradient are within a relative 1e-4 of the reference's in float64."""
    value, gradient = value_and_gradient(lovasz_softmax, logits, target)
    expected, slope = value_and_gradient(reference, logits.double(), target)
    near = abs(value - expected) <= 1e-4 * expected
    return bool(near and (gradient - slope).norm() <= 1e-4 * slope.norm())


def batch(shape, share, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape[0], 2, *shape[1:], generator=generator)
    return logits, (torch.rand(shape, generator=generator) < share).long()


def test_names():
    assert LOSSES == ("ce", "wce_2", "wce_3", "wce_5", "wce_10", "lovasz")
    with pytest.raises(UsageError, match="unknown loss 'dise': choose from ce, wce_2, .*lovasz"):
        build_loss("dise")


def test_weighted_cross_entropy_of_two_pixels():
    logits, target = logits_of([0.75, 0.5]), target_of(1, 0)
    landslide, background = -math.log(0.75), -math.log(0.5)
    for name, weight in {"ce": 1, "wce_2": 2, "wce_3": 3, "wce_5": 5, "wce_10": 10}.items():
        expected = (weight * landslide + background) / (weight + 1)
        assert build_loss(name)(logits, target).item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_is_torchs():
    logits, target = batch((2, 8, 8), 0.3)
    torch.testing.assert_close(build_loss("ce")(logits, target), F.cross_entropy(logits, target))
    weighted = F.cross_entropy(logits, target, torch.tensor([1.0, 5.0]))
    torch.testing.assert_close(build_loss("wce_5")(logits, target), weighted)


def test_lovasz_of_two_pixels():
    # Errors .4 (landslide), .3. Landslide class: Jaccard loss 1 at once: .4. Background: 1/2, then 1: .35.
    loss = lovasz_softmax(logits_of([0.6, 0.3]), target_of(1, 0))
    assert loss.item() == pytest.approx((0.4 + 0.35) / 2, rel=1e-6)


def test_lovasz_of_four_pixels():
    # Errors .8, .1 (landslide), .4, .2. Landslide class: Jaccard losses 1/2, 2/3, 3/4, 1 in the order
    # .8, .4, .2, .1; background: 1/3, 2/3, 1, 1.
    loss = lovasz_softmax(logits_of([0.2, 0.9, 0.4, 0.2]), target_of(1, 1, 0, 0))
    landslide = 0.8 / 2 + 0.4 / 6 + 0.2 / 12 + 0.1 / 4
    assert loss.item() == pytest.approx((landslide + 1.4 / 3) / 2, rel=1e-6)


@pytest.mark.parametrize("classes", [(0, 0, 0, 0), (1, 1, 1, 1)])
def test_lovasz_of_one_class_is_the_mean_error(classes):
    # A class that fills the batch has Jaccard loss k / 4 with k pixels wrong; the absent one does not count.
    p1 = [0.2, 0.9, 0.4, 0.1]
    loss = lovasz_softmax(logits_of(p1), target_of(*classes))
    assert loss.item() == pytest.approx(sum(abs(y - p) for y, p in zip(classes, p1, strict=True)) / 4)


def test_reference_follows_the_set_function():
    foreground = torch.tensor([True, True, False, False])
    errors = torch.tensor([0.8, 0.1, 0.4, 0.2])
    wrong, previous, total = torch.zeros(4, dtype=torch.bool), 0, 0
    for pixel in errors.argsort(descending=True):
        wrong[pixel] = True
        jaccard = jaccard_loss(wrong, foreground)
        total, previous = total + errors[pixel] * (jaccard - previous), jaccard
    reference = lovasz_by_definition(logits_of([0.2, 0.9, 0.4, 0.2]), target_of(1, 1, 0, 0), classes=[1])
    assert reference.item() == pytest.approx(total.item(), rel=1e-6)


@pytest.mark.parametrize("share", [0, 0.001, 0.02, 0.5, 0.98, 1])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 17, 5), (4, 64, 64)])
def test_lovasz_is_its_definition(shape, share):
    logits, target = batch(shape, share)
    assert agree(logits, target, lovasz_by_definition)


@pytest.mark.parametrize("share", [0, 0.02])
def test_lovasz_is_its_definition_on_millions_of_pixels(share):
    logits, target = batch((16, 512, 512), share)
    assert agree(logits, target, lovasz_by_definition)


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": [1]},
        {"classes": [0]},
        {"descending": False},
    ],
)
def test_a_wrong_reference_is_rejected(wrong):
    logits, target = batch((4, 64, 64), 0.02)
    assert not agree(logits, target, lambda *pair: lovasz_by_definition(*pair, **wrong))


def test_a_gradient_off_by_a_thousandth_is_rejected():
    logits, target = batch((4, 64, 64), 0.02)
    assert not agree(logits, target, lambda *pair: 1.001 * lovasz_by_definition(*pair))


def test_lovasz_with_ties_takes_the_value_of_the_extension():
    # Every error is 1/2, so each class's loss is 1/2 in any order.
    logits = torch.zeros(2, 2, 4, 4, requires_grad=True)
    target = torch.arange(32).reshape(2, 4, 4) % 3 // 2
    loss = lovasz_softmax(logits, target)
    loss.backward()
    assert loss.item() == pytest.approx(0.5)
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_are_finite_inside_autocast(name, dtype):
    logits, target = batch((2, 16, 16), 0.1)
    logits = (logits * 1000).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = build_loss(name)(logits, target)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.shape == () and loss.isfinite()
    assert logits.grad.dtype == dtype and logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_changes_nothing(name):
    logits, target = batch((2, 16, 16), 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = build_loss(name)(logits, target)
    assert torch.equal(inside, build_loss(name)(logits, target))


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_the_same_twice(name):
    logits, target = batch((8, 64, 64), 0.02)
    logits = logits.round()  # many ties
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (value_and_gradient(build_loss(name), logits, target) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
