"""What was run: a run's identity, its folder, and the paper's tables filled from stored runs."""

import hashlib
import json
import os
import re
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from l4s_utils import bands as band_table
from l4s_utils import experiments, metrics
from l4s_utils.errors import InputError, UsageError

FORMAT = 1  # raised when stored runs mean something else than before
COUNTS = ["tp", "fp", "fn", "tp_native", "fp_native", "fn_native"]


@contextmanager
def written_aside(path):
    """A temporary path beside `path` that takes its place in one step, if nothing went wrong."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield aside
        with open(aside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path, content):
    """Write JSON in one step."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=1) + "\n")


def write_csv(path, frame):
    """Write a DataFrame in one step; floats keep every digit."""
    with written_aside(path) as aside:
        frame.to_csv(aside, index=False)


def config(experiment, split, seed, preset, patches) -> dict:
    """All that a run depends on, as plain JSON types: its identity.

    The machine's choices (precision, threads, device, versions) are not part of it.
    """
    settings = asdict(preset)
    return {
        "experiment": experiment.name,
        "model": experiment.model,
        "bands": list(band_table.names(experiment.bands)),
        "components": experiment.components,
        "loss": experiment.loss,
        "augment": experiment.augment,
        "image_size": min(experiment.image_size, preset.largest),
        "pretrained": experiment.pretrained,
        "split": split,
        "seed": seed,
        "preset": settings.pop("name"),
        "settings": settings,
        "data": patches.hash,
        "data_name": patches.name,
        "format": FORMAT,
    }


def folder(runs, config) -> Path:
    """Where a run lies: names for people, and a hash of the whole configuration."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:10]
    name = "-".join(re.sub(r"[^\w.]+", "_", str(config[key])) for key in ("experiment", "split", "preset"))
    return Path(runs) / f"{name}-seed{config['seed']}-{digest}"


@dataclass(frozen=True)
class Run:
    """A run's folder, read lazily. Raises InputError naming the file that cannot be read."""

    path: Path

    def _json(self, name):
        try:
            return json.loads((self.path / name).read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path / name}: not readable ({error}); run it again") from None

    def _csv(self, name, columns):
        try:
            return pd.read_csv(self.path / name)[columns] if columns else pd.read_csv(self.path / name)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{self.path / name}: not readable ({error}); run it again") from None

    @property
    def finished(self) -> bool:
        """Whether the run has its test scores, which are written last."""
        return (self.path / "test.json").is_file()

    @cached_property
    def config(self) -> dict:
        return self._json("config.json")

    @cached_property
    def environment(self) -> dict:
        return self._json("environment.json")

    @cached_property
    def test(self) -> dict:
        return self._json("test.json")

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """One row an epoch."""
        return self._csv("epochs.csv", None)

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Counts of each test patch: id and `COUNTS`."""
        return self._csv("test_counts.csv", ["id", *COUNTS])

    @cached_property
    def interval(self) -> dict:
        """F1 of the test split with its 95 % interval over patches."""
        return metrics.bootstrap(self.counts[["tp", "fp", "fn"]].to_numpy())


def test_summary(counts, seconds) -> dict:
    """Content of `test.json`, from the counts of the test patches alone."""
    total = counts[COUNTS].sum()
    resized = metrics.scores(*(total[key] for key in COUNTS[:3]))
    native = metrics.scores(*(total[key] for key in COUNTS[3:]))
    return {
        **resized,
        **{key: int(total[key]) for key in COUNTS[:3]},
        "patches": len(counts),
        **{f"{name}_native": value for name, value in native.items()},
        "seconds": round(seconds, 2),
    }


def find(runs) -> list[Run]:
    """Finished runs in a folder, by name."""
    root = Path(runs)
    if not root.is_dir():
        return []
    return [run for path in sorted(root.iterdir()) if (run := Run(path)).finished]


def frame(runs) -> pd.DataFrame:
    """One row a finished run: configuration, test scores and F1's interval over patches."""
    rows = []
    for run in find(runs):
        keys = ("experiment", "split", "preset", "seed", "data", "data_name", "image_size")
        row = {key: run.config[key] for key in keys} | run.test
        rows.append(row | {"low": run.interval["low"], "high": run.interval["high"], "path": run.path})
    return pd.DataFrame(rows)


# --- tables -------------------------------------------------------------------------------------

TABLES = {  # title: rows, paper's columns
    "Table 1: band selection": (
        "all rgb rgb_true rgb_height rgb_true_height rgb_height_nir rgb_true_height_nir",
        "f1",
    ),
    "Table 2: losses": ("all_aug wce_2 wce_3 wce_5 wce_10 lovasz", "recall precision f1"),
    "Table 3: architectures": (
        "lovasz swint_unet_256 swint_unet_rgb_256 swint_unet_rgb_true_256 segformer_b0_512",
        "f1",
    ),
    "Table 4: summary": ("all rgb_height rgb_true_height all_aug lovasz swint_unet_256", "f1"),
    "Table 5: all configurations": (" ".join(experiments.PAPER | experiments.TRUE), "f1"),
    "Figure 2: bands by architecture": (" ".join(experiments.FIGURE2), "f1"),
}
_IDENTITY = ["split", "preset", "data_name", "data"]


def _cell(rows, score):
    """Mean over seeds of one score, and for F1 with one seed its interval over patches."""
    if not len(rows):
        return {f"{score}": np.nan}
    cell = {score: rows[score].mean()}
    if score == "f1":
        single = len(rows) == 1
        cell |= {
            "low": rows["low"].iloc[0] if single else np.nan,
            "high": rows["high"].iloc[0] if single else np.nan,
        }
        cell |= {"sd": np.nan if single else rows["f1"].std(ddof=1)}
    return cell


def _study(found, title, identity):
    """One table for one split, preset and data set."""
    names, scores = TABLES[title]
    rows = []
    for name in names.split():
        experiment = experiments.REGISTRY[name]
        ours = found[found["experiment"] == name] if len(found) else found
        row = {"table": title, "experiment": name, "model": experiment.model, "bands": experiment.bands}
        row |= {"components": experiment.components} if title.startswith("Figure 2") else {}
        row |= {"loss": experiment.loss, "augment": experiment.augment, "size": experiment.image_size}
        for score in scores.split():
            row |= {f"paper_{score}": getattr(experiment.paper, score)} | _cell(ours, score)
        rows.append(row | {"seeds": len(ours)} | dict(zip(_IDENTITY, identity, strict=True)))
    return pd.DataFrame(rows)


def table(runs="runs", title=None, data=None, preset=None) -> list[pd.DataFrame] | pd.DataFrame:
    """The paper's tables, its values (`paper_*`) beside ours, empty where nothing has run.

    runs: folder of runs. title: start of one table's title, such as "Table 1". data: hash of a
    data set; preset: a preset's name; both restrict which runs are shown. Runs on different data,
    presets or splits never share a table: each such study gives its own, and the columns `split`,
    `preset` and `data_name` say which. Returns one DataFrame for one title, else a list.
    """
    if not Path(runs).is_dir() and str(runs) != "runs":
        raise InputError(f"{runs}: no such folder; give the one that `run` wrote to")
    found = frame(runs)
    for key, value in (("data", data), ("preset", preset)):
        if value and len(found):
            found = found[found[key] == value]
    studies = list(found.groupby(_IDENTITY)) if len(found) else [((None,) * len(_IDENTITY), found)]
    titles = [name for name in TABLES if title is None or name.startswith(title)]
    if not titles:
        raise UsageError(f"unknown table {title!r}: choose from {', '.join(t.split(':')[0] for t in TABLES)}")
    tables = [
        pd.concat([_study(rows, name, identity) for identity, rows in studies], ignore_index=True) for name in titles
    ]
    return tables if title is None else tables[0]


def render(tables, format="md") -> str:
    """The tables as text: Markdown by study, CSV, or JSON."""
    if format == "json":
        return json.dumps([json.loads(one.to_json(orient="records")) for one in tables], indent=1)
    if format == "csv":
        return "\n".join(one.dropna(axis=1, how="all").to_csv(index=False, float_format="%.4f") for one in tables)
    parts = []
    for one in tables:
        for identity, rows in one.groupby(_IDENTITY, dropna=False):
            split, preset, data_name, digest = identity
            ran = (
                f"{data_name} {digest[:8]}, split {split}, preset {preset}"
                if isinstance(split, str)
                else "nothing has run"
            )
            shown = rows.drop(columns=["table", *_IDENTITY])
            numbers = shown.select_dtypes("number").columns
            floats = [
                c for c in shown if c in ("low", "high", "sd", "f1", "recall", "precision") or c.startswith("paper_")
            ]
            text = shown.astype(object).copy()
            for column in numbers.union(floats):
                form = "{:.3f}" if column in floats else "{:.0f}"
                text[column] = ["" if pd.isna(v) else form.format(v) for v in shown[column]]
            text["bands"] = text["bands"].map(str)
            parts.append(
                f"## {one['table'].iloc[0]} ({ran})\n\n{text.to_markdown(index=False, disable_numparse=True)}\n"
            )
    return "\n".join(parts)
