import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from l4s_utils import metrics


def test_four_pixels_by_hand():
    predicted = torch.tensor([[[1, 1], [0, 0]], [[0, 0], [0, 0]]])
    target = torch.tensor([[[1, 0], [1, 0]], [[0, 0], [0, 1]]])
    assert metrics.counts(predicted, target).tolist() == [[1, 1, 1], [0, 0, 1]]
    assert metrics.scores(1, 1, 2) == pytest.approx({"precision": 1 / 2, "recall": 1 / 3, "f1": 2 / 5, "iou": 1 / 4})


def test_nothing_predicted_and_nothing_there_scores_zero():
    assert set(metrics.scores(0, 0, 0).values()) == {0.0}
    assert metrics.scores(0, 5, 0)["recall"] == 0


def test_scores_equal_scikit_learns():
    rng = np.random.default_rng(0)
    for share in (0.02, 0.5, 0.98):
        truth, guess = rng.random((2, 4, 16, 16)) < share
        counted = metrics.counts(torch.from_numpy(guess), torch.from_numpy(truth)).sum(dim=0)
        ours = metrics.scores(*counted.numpy())
        t, g = truth.ravel(), guess.ravel()
        assert ours["precision"] == pytest.approx(reference.precision_score(t, g))
        assert ours["recall"] == pytest.approx(reference.recall_score(t, g))
        assert ours["f1"] == pytest.approx(reference.f1_score(t, g))
        assert ours["iou"] == pytest.approx(reference.jaccard_score(t, g))


def test_scores_of_arrays_keep_their_shape():
    assert metrics.scores([1, 0], [1, 0], [0, 0])["f1"].tolist() == pytest.approx([2 / 3, 0])


def test_bootstrap_brackets_f1_and_repeats():
    counts = np.random.default_rng(1).integers(0, 50, (80, 3))
    interval = metrics.bootstrap(counts)
    assert interval["low"] < interval["f1"] < interval["high"]
    assert interval["f1"] == metrics.scores(*counts.sum(axis=0))["f1"]
    assert interval == metrics.bootstrap(counts)
    narrow = metrics.bootstrap(np.tile(counts, (16, 1)))
    assert (interval["high"] - interval["low"]) / (narrow["high"] - narrow["low"]) == pytest.approx(4, rel=0.15)


def test_one_patch_has_no_interval():
    interval = metrics.bootstrap([[3, 1, 0]])
    assert interval["f1"] == pytest.approx(6 / 7)
    assert np.isnan(interval["low"]) and np.isnan(interval["high"])
