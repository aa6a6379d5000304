import dataclasses
import io
import json

import pandas as pd
import pytest

from l4s_utils import experiments, patches, runs
from l4s_utils.errors import InputError, UsageError

SMOKE = experiments.PRESETS["smoke"]


def _config(packed, name="all", seed=0, preset=SMOKE, split="paper", **changes):
    experiment = dataclasses.replace(experiments.REGISTRY[name], **changes)
    return runs.config(experiment, split, seed, preset, patches.open_set(packed))


def _store(root, config, rows):
    """A finished run with these counts (id, tp, fp, fn), as training leaves it."""
    path = runs.folder(root, config)
    path.mkdir(parents=True)
    counts = pd.DataFrame([(*row, *row[1:]) for row in rows], columns=["id", *runs.COUNTS])
    runs.write_json(path / "config.json", config)
    runs.write_csv(path / "test_counts.csv", counts)
    runs.write_json(path / "test.json", runs.test_summary(counts, 1.0))
    return runs.Run(path)


def test_every_setting_has_its_own_folder(packed):
    base = _config(packed)
    others = [
        _config(packed, seed=1),
        _config(packed, preset=dataclasses.replace(SMOKE, max_epochs=3)),
        _config(packed, loss="lovasz"),
        _config(packed, split="blocked"),
        base | {"data": "another"},
    ]
    folders = {runs.folder("runs", config).name for config in (base, *others)}
    assert len(folders) == 6


def test_a_reworded_question_is_the_same_run(packed):
    reworded = _config(packed, question="?", paper=experiments.Scores(f1=0.1))
    assert runs.folder("runs", reworded) == runs.folder("runs", _config(packed))


def test_scores_follow_from_the_counts():
    counts = pd.DataFrame([(1, 3, 1, 0, 1, 0, 0), (2, 1, 0, 3, 1, 0, 2)], columns=["id", *runs.COUNTS])
    test = runs.test_summary(counts, 2.5)
    assert (test["tp"], test["fp"], test["fn"], test["patches"]) == (4, 1, 3, 2)
    assert test["f1"] == pytest.approx(8 / 12)
    assert test["f1_native"] == pytest.approx(4 / 6)


def test_tables_hold_the_papers_values_where_nothing_ran(tmp_path):
    tables = runs.table(tmp_path)
    assert [len(one) for one in tables] == [7, 6, 5, 6, 18, 24]
    losses = tables[1].set_index("experiment")
    assert losses.loc["wce_10", "paper_recall"] == 0.893
    assert losses["f1"].isna().all() and (losses["seeds"] == 0).all()


def test_seeds_are_averaged_and_data_sets_never_share_a_row(tmp_path, packed):
    _store(tmp_path, _config(packed, seed=0), [(1, 8, 2, 2), (2, 0, 0, 0)])
    _store(tmp_path, _config(packed, seed=1), [(1, 6, 4, 4), (2, 0, 0, 0)])
    other = _config(packed) | {"data": "f" * 64, "data_name": "Landslide4Sense"}
    _store(tmp_path, other, [(1, 5, 5, 5), (2, 1, 1, 1)])
    rows = runs.table(tmp_path, "Table 1").query("experiment == 'all'").set_index("data_name")
    assert rows.loc["stand-in data", "f1"] == pytest.approx(0.7)
    assert rows.loc["stand-in data", "sd"] == pytest.approx(0.1 * 2**0.5)
    assert rows.loc["Landslide4Sense", "f1"] == pytest.approx(0.5)
    assert rows.loc["Landslide4Sense", "low"] <= 0.5


def test_tables_render_in_every_format(tmp_path, packed):
    _store(tmp_path, _config(packed), [(1, 8, 2, 2), (2, 0, 0, 0)])
    tables = runs.table(tmp_path)
    markdown = runs.render(tables)
    assert "Table 1: band selection (stand-in data" in markdown and "0.721" in markdown and "0.800" in markdown
    assert len(json.loads(runs.render(tables, "json"))) == 6
    blocks = [pd.read_csv(io.StringIO("table," + text)) for text in runs.render(tables, "csv").split("table,")[1:]]
    assert [len(block) for block in blocks] == [7, 6, 5, 6, 18, 24]
    assert blocks[0].set_index("experiment").loc["all", ["paper_f1", "f1", "seeds"]].tolist() == [0.721, 0.8, 1]


def test_a_damaged_run_is_named(tmp_path, packed):
    run = _store(tmp_path, _config(packed), [(1, 8, 2, 2)])
    with pytest.raises(UsageError, match="choose from Table 1"):
        runs.table(tmp_path, "Table 9")
    (run.path / "test.json").write_text("{")
    with pytest.raises(InputError, match="test.json: not readable"):
        runs.table(tmp_path)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    runs.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), runs.written_aside(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_what_differs_in_data_preset_or_split_never_shares_a_row(tmp_path, packed):
    base = _config(packed)
    others = [base | change for change in ({"data": "e" * 64}, {"preset": "paper"}, {"split": "blocked"})]
    for n, config in enumerate((base, *others), start=1):
        _store(tmp_path, config, [(1, n, 4, 4), (2, 0, 0, 0)])
    rows = runs.table(tmp_path, "Table 1").query("experiment == 'all'")
    assert sorted(rows["f1"]) == pytest.approx([n / (n + 4) for n in (1, 2, 3, 4)])
    assert (rows["seeds"] == 1).all()
    assert runs.table(tmp_path, "Table 1", data="e" * 64)["f1"].dropna().tolist() == pytest.approx([2 / 6])


def test_a_run_that_has_not_finished_is_in_no_table(tmp_path, packed):
    run = _store(tmp_path, _config(packed), [(1, 8, 2, 2)])
    (run.path / "test.json").unlink()
    assert not run.finished and runs.find(tmp_path) == []
    assert runs.table(tmp_path, "Table 1")["f1"].isna().all()
