import json
import signal
from pathlib import Path

import pytest

from l4s_utils import training
from l4s_utils.__main__ import main

VERBS = ("sample", "check", "pack", "run", "table")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0 and verb in capsys.readouterr().out


def test_sample_pack_check_run_table(tmp_path, capsys):
    data, packed, runs = (str(tmp_path / name) for name in ("data", "packed", "runs"))
    assert main(["sample", data, "--patches", "12", "--seed", "3"]) == 0
    assert len(list((tmp_path / "data/TrainData/img").glob("image_*.h5"))) == 12
    assert main(["check", data]) == 0
    assert main(["pack", data, packed]) == 0
    assert "12 patches as uint16" in capsys.readouterr().out
    for _ in range(2):
        assert main(["run", "all", "--data", packed, "--runs", runs, "--preset", "smoke"]) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert (Path(last) / "test.json").is_file()
    assert main(["table", "--runs", runs, "--format", "json"]) == 0
    tables = json.loads(capsys.readouterr().out)
    assert tables[0][0]["experiment"] == "all" and tables[0][0]["seeds"] == 1


def test_check_lists_broken_files_and_fails(tmp_path, folder, capsys):
    image = tmp_path / "TrainData/img/image_1.h5"
    image.parent.mkdir(parents=True)
    image.write_bytes((folder / "TrainData/img/image_1.h5").read_bytes()[:999])
    assert main(["check", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith(str(image))


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        (["run", "lovas"], 2, "unknown experiment 'lovas': choose from all"),
        (["run", "all", "--preset", "fast"], 2, "choose from smoke, demo, paper"),
        (["run", "all", "--preset", "smoke", "--split", "random"], 2, "unknown split 'random': choose from paper"),
        (["run", "all", "--data", "nowhere"], 1, "nowhere: no such folder"),
        (["check", "nowhere"], 1, "nowhere: no such folder"),
        (["pack", "nowhere", "out"], 1, "nowhere: no such folder"),
        (["table", "--runs", "nowhere"], 1, "nowhere: no such folder"),
        (["sample", "out", "--patches", "0"], 2, "from 1 to 3799"),
    ],
)
def test_a_mistake_is_one_line(arguments, status, words, packed, capsys):
    if arguments[:2] == ["run", "all"] and "--data" not in arguments:
        arguments = [*arguments, "--data", str(packed)]
    assert main(arguments) == status
    error = capsys.readouterr().err.strip()
    assert words in error and "\n" not in error


def test_too_few_patches_and_an_empty_folder(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["run", "all", "--data", str(tmp_path / "empty"), "--preset", "smoke"]) == 1
    assert "no image_N.h5" in capsys.readouterr().err
    main(["sample", str(tmp_path / "few"), "--patches", "4"])
    main(["pack", str(tmp_path / "few"), str(tmp_path / "set")])
    assert main(["run", "all", "--data", str(tmp_path / "set"), "--runs", str(tmp_path), "--preset", "smoke"]) == 1
    assert "4 patches are too few" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["fly"], ["table", "--format", "xml"], ["run", "all", "--seed", "x"]])
def test_wrong_use_ends_with_2_and_shows_the_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: l4s")


def test_runs_and_preset_may_come_from_the_environment(tmp_path, packed, monkeypatch, capsys):
    for name, value in {"DATA": packed, "RUNS": tmp_path, "PRESET": "smoke"}.items():
        monkeypatch.setenv(f"L4S_{name}", str(value))
    assert main(["run", "rgb"]) == 0
    last = Path(capsys.readouterr().out.splitlines()[-1])
    assert last.parent == tmp_path and json.loads((last / "config.json").read_text())["preset"] == "smoke"


@pytest.mark.parametrize("moment", ["training_step", "test_step"])
def test_an_interrupted_run_says_so_and_goes_on(tmp_path, packed, monkeypatch, capsys, moment):
    command = ["run", "rgb", "--data", str(packed), "--runs", str(tmp_path), "--preset", "smoke"]

    def interrupt(*_):
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as pressed:
        pressed.setattr(training.Segmenter, moment, interrupt)
        assert main(command) == 1
    assert "interrupted; the same command goes on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) == handler
    assert main(command) == 0
