import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from l4s_utils import experiments, metrics, patches, training
from l4s_utils.errors import InputError

SMOKE = experiments.PRESETS["smoke"]
FOUR = dataclasses.replace(SMOKE, max_epochs=4)
TIMINGS = ["seconds", "images_per_second"]


@pytest.fixture(scope="module")
def whole(packed, tmp_path_factory):
    """Four epochs of an augmented run that was never stopped."""
    return training.run("lovasz", packed, tmp_path_factory.mktemp("runs"), preset=FOUR)


def _same(run, whole):
    """The bytes of weights and counts, and epochs and scores but for timings."""
    for name in ("best.safetensors", "test_counts.csv", "config.json"):
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    assert_frame_equal(run.epochs.drop(columns=TIMINGS), whole.epochs.drop(columns=TIMINGS), check_exact=True)
    assert {k: v for k, v in run.test.items() if k != "seconds"} == {
        k: v for k, v in whole.test.items() if k != "seconds"
    }


def test_a_run_folder_holds_what_others_rely_on(whole):
    names = {path.name for path in whole.path.iterdir() if not path.name.startswith(".")}
    wanted = {"config.json", "environment.json", "epochs.csv", "test.json", "test_counts.csv", "best.safetensors"}
    assert names == wanted
    keys = {"experiment", "model", "bands", "loss", "augment", "image_size", "split", "seed", "preset", "data"}
    assert keys <= whole.config.keys()
    columns = {"epoch", "lr", *TIMINGS}
    columns |= {f"{p}_{s}" for p in ("train", "val") for s in ("loss", "precision", "recall", "f1", "iou")}
    assert columns == set(whole.epochs.columns)
    assert whole.epochs["epoch"].tolist() == [0, 1, 2, 3]


def test_scores_follow_from_the_counts(whole, packed):
    counts = pd.read_csv(whole.path / "test_counts.csv")
    again = metrics.scores(*counts[["tp", "fp", "fn"]].sum())
    assert {key: whole.test[key] for key in again} == again
    opened = patches.open_set(packed)
    truth = opened.masks[opened.rows(counts["id"])].sum(axis=(1, 2))
    assert (counts["tp"] + counts["fn"] == truth).all()


def test_a_run_that_exists_is_reused(whole, packed):
    before = (whole.path / "test.json").stat().st_mtime_ns
    again = training.run("lovasz", packed, whole.path.parent, preset=FOUR)
    assert again.path == whole.path and (again.path / "test.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("epochs_done", [2, 4])
@pytest.mark.parametrize("moment", ["_report", "_publish"])
def test_a_run_that_breaks_off_ends_as_if_it_had_not(whole, packed, tmp_path, monkeypatch, moment, epochs_done):
    original = getattr(training.Keeper, moment)

    def break_off(keeper, *args):
        if len(keeper.rows) == epochs_done:
            raise RuntimeError("power cut")
        original(keeper, *args)

    monkeypatch.setattr(training.Keeper, moment, break_off)
    with pytest.raises(RuntimeError, match="power cut"):
        training.run("lovasz", packed, tmp_path, preset=FOUR)
    monkeypatch.undo()
    _same(training.run("lovasz", packed, tmp_path, preset=FOUR), whole)


def test_a_killed_process_goes_on(packed, tmp_path, capsys):
    command = [sys.executable, "-m", "l4s_utils", "run", "all", "--preset", "smoke"]
    command += ["--data", str(packed), "--runs", str(tmp_path)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # as here, for the same bytes
    process = subprocess.Popen(command, env=one_thread, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob("*/last.ckpt")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it had not ended by itself
    assert not list(tmp_path.glob("*/test.json"))
    resumed = training.run("all", packed, tmp_path, preset="smoke")
    assert "goes on after epoch" in capsys.readouterr().err
    _same(resumed, training.run("all", packed, tmp_path / "other", preset="smoke"))


@pytest.mark.parametrize("name", experiments.REGISTRY)
def test_every_row_and_cell_takes_the_same_way(packed, tmp_path, name):
    run = training.run(name, packed, tmp_path, preset="smoke")
    opened = patches.open_set(packed)
    truth = opened.masks[opened.rows(run.counts["id"])].sum(axis=(1, 2))
    assert (run.counts["tp_native"] + run.counts["fn_native"] == truth).all()
    if run.config["image_size"] > 128:
        assert (run.counts["tp"] + run.counts["fn"]).sum() > truth.sum()


def test_patches_that_cannot_be_trained_on_are_refused(packed, tmp_path, monkeypatch):
    opened = patches.open_set(packed)
    without = patches.PatchSet(**{**vars(opened), "masks": None})
    monkeypatch.setattr(training, "load_data", lambda data: without)
    with pytest.raises(InputError, match="no masks"):
        training.run("all", packed, tmp_path, preset="smoke")


def test_a_loss_that_is_no_number_stops_the_run(packed, tmp_path):
    hot = dataclasses.replace(SMOKE, lr=1e30, schedule="cosine")
    with pytest.raises(InputError, match="loss is nan in epoch|loss is inf in epoch"):
        training.run("all", packed, tmp_path, preset=hot)


def test_the_environment_names_no_path(whole):
    text = json.dumps(whole.environment) + json.dumps(whole.config)
    assert "/" not in text.replace("float32/", "")


def test_another_seed_is_another_model_on_the_same_patches(packed, tmp_path):
    a, b = (training.run("rgb", packed, tmp_path, seed=seed, preset="smoke") for seed in (0, 1))
    assert a.path != b.path
    assert (a.path / "best.safetensors").read_bytes() != (b.path / "best.safetensors").read_bytes()
    assert a.counts["id"].tolist() == b.counts["id"].tolist()


F1 = [0.1, 0.3, 0.2, 0.2, 0.9, 0.9]


@pytest.mark.parametrize("broken_after", [None, 3, 4])  # 4: when all but the test is done
def test_it_stops_when_patience_ends_and_keeps_the_best(packed, tmp_path, monkeypatch, broken_after):
    """Validation F1 peaks in epoch 1; with patience 2 epoch 3 is the last, in one go or in two."""
    scores, publish, weights = training.Segmenter.epoch_scores, training.Keeper._publish, {}

    def prescribed(task):
        return scores(task) | {"val_f1": F1[task.current_epoch]}

    def watched(keeper, task):
        publish(keeper, task)
        weights[len(keeper.rows) - 1] = (keeper.path / "best.safetensors").read_bytes()
        if len(keeper.rows) == broken_after and not resumed:
            raise RuntimeError("power cut")

    monkeypatch.setattr(training.Segmenter, "epoch_scores", prescribed)
    monkeypatch.setattr(training.Keeper, "_publish", watched)
    preset = dataclasses.replace(SMOKE, max_epochs=6, patience=2, schedule="cosine")
    resumed = False
    if broken_after:
        with pytest.raises(RuntimeError, match="power cut"):
            training.run("rgb", packed, tmp_path, preset=preset)
        resumed = True
    run = training.run("rgb", packed, tmp_path, preset=preset)
    assert run.epochs["epoch"].tolist() == [0, 1, 2, 3]
    assert weights[0] != weights[1]
    assert (run.path / "best.safetensors").read_bytes() == weights[1]
    low, top = preset.min_lr, preset.lr
    cosine = [low + (top - low) * (1 + math.cos(math.pi * epoch / 6)) / 2 for epoch in range(4)]
    assert run.epochs["lr"].tolist() == pytest.approx(cosine)


def test_sigterm_ends_after_the_epoch_and_the_next_call_goes_on(whole, packed, tmp_path, monkeypatch):
    handler = signal.getsignal(signal.SIGTERM)
    original = training.Keeper._publish

    def asked(keeper, *args):
        original(keeper, *args)
        if len(keeper.rows) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training.Keeper, "_publish", asked)
    with pytest.raises(InputError, match="stopped by SIGTERM after epoch 1"):
        training.run("lovasz", packed, tmp_path, preset=FOUR)
    assert signal.getsignal(signal.SIGTERM) == handler
    monkeypatch.undo()
    _same(training.run("lovasz", packed, tmp_path, preset=FOUR), whole)


def test_a_set_with_three_bands_trains_what_it_can_and_names_what_it_lacks(packed, tmp_path):
    opened = patches.open_set(packed)

    def fill(images, masks, digest):
        images[:], masks[:] = opened.images[:, opened.channels("RGB")], opened.masks
        digest.update(images.data)

    few = tmp_path / "few"
    patches.write_set(few, opened.ids, ("B4", "B3", "B2"), opened.name, "train", fill, True)
    with pytest.raises(InputError, match="no band B1, B5.*elevation; the set holds B4, B3, B2"):
        training.run("all", few, tmp_path / "runs", preset="smoke")
    assert not (tmp_path / "runs").exists()
    of_few = training.run("rgb_true", few, tmp_path / "runs", preset="smoke")
    of_all = training.run("rgb_true", packed, tmp_path / "runs", preset="smoke")
    assert of_few.path != of_all.path  # other data, as far as a run can know
    assert of_few.counts.equals(of_all.counts)
