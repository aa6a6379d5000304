"""A notebook's first cells: parameters, progress, watermark, figures."""

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import seaborn as sns
import torch

from l4s_utils import experiments, patches, runs, training
from l4s_utils.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """A notebook's parameters with defaults filled in; paths are absolute."""

    data: str
    preset: str
    runs: Path
    figures: Path
    seeds: tuple[int, ...]


def _seeds(given):
    listed = given.split(",") if isinstance(given, str) else given
    try:
        return tuple(dict.fromkeys(int(seed) for seed in listed))
    except (TypeError, ValueError):
        raise UsageError(f"SEEDS = {given!r}: expected whole numbers such as '0,1,2'") from None


def setup(DATA="", PRESET="", RUNS="", FIGURES="", SEEDS="") -> Settings:
    """Fill empty parameters from `L4S_*` in the environment, else from the defaults.

    The defaults are the stand-in data, preset `demo`, `runs`, `figures` and seed 0. Relative paths
    are meant from the repository's root, wherever the kernel runs.
    """

    def given(name, value, default=""):
        return value if value not in ("", None) else os.environ.get(f"L4S_{name}") or default

    root = patches.workspace()
    data = given("DATA", DATA)
    settings = Settings(
        data=str(root / data) if data else "",
        preset=experiments.get_preset(given("PRESET", PRESET, "demo")).name,
        runs=root / given("RUNS", RUNS, "runs"),
        figures=root / given("FIGURES", FIGURES, "figures"),
        seeds=_seeds(given("SEEDS", SEEDS, "0")),
    )
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    mpl.rcParams.update({"figure.dpi": 80, "savefig.bbox": "tight", "svg.hashsalt": "l4s", "axes.titlesize": 11})
    return settings


def watermark(settings, data) -> None:
    """Print versions, commit, device and data, none of it naming a path of this machine."""
    packages = ("torch", "pytorch-lightning", "segmentation-models-pytorch", "timm", "numpy")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    git = subprocess.run(
        ["git", "-C", str(patches.workspace()), "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    print(f"python {platform.python_version()}, {versions}")
    print(f"commit {git.stdout.strip() or 'unknown'}, {device}")
    print(f"data: {data.name}, {len(data):,} patches, hash {data.hash[:8]}; preset {settings.preset}")


def train(names, settings) -> None:
    """Run these experiments for every seed; what is stored is not trained again."""
    for name in names:
        for seed in settings.seeds:
            training.run(name, settings.data, settings.runs, seed, settings.preset)


def stored(settings, data) -> dict[str, runs.Run]:
    """Finished runs by experiment, on these data, in this preset, for the first seed and the paper's split."""
    wanted = {"data": data.hash, "preset": settings.preset, "seed": settings.seeds[0], "split": "paper"}
    found = [run for run in runs.find(settings.runs) if wanted.items() <= run.config.items()]
    return {run.config["experiment"]: run for run in found}


def save(figure, name, settings, data) -> None:
    """Write a figure as PNG and SVG, with the words that name its data set on it."""
    figure.text(1, 0, data.name, ha="right", va="top", fontsize=8, color="0.4", transform=figure.transFigure)
    settings.figures.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "svg"):
        metadata_ = {"Date": None} if ending == "svg" else {"Software": None}
        figure.savefig(settings.figures / f"{name}.{ending}", dpi=110, metadata=metadata_)
    plt.show()
