"""Run the notebooks with papermill, in order, and list what came out.

    python notebooks/run_all.py [--in-place] [NOTEBOOK ...]

Parameters come from the environment: L4S_DATA, L4S_PRESET, L4S_RUNS, L4S_FIGURES, L4S_SEEDS.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
import papermill

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def _put_in_place(executed, source):
    """The executed notebook without papermill's notes, which hold paths and times of this machine."""
    notebook = nbformat.read(executed, as_version=4)
    for part in (notebook, *notebook.cells):
        part.metadata.pop("papermill", None)
        part.metadata.pop("execution", None)
    nbformat.write(notebook, executed)
    os.replace(executed, source)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all")
    parser.add_argument("--in-place", action="store_true", help="replace the notebooks by the executed ones")
    args = parser.parse_args()
    os.chdir(ROOT)
    runs = ROOT / (os.environ.get("L4S_RUNS") or "runs")
    figures = ROOT / (os.environ.get("L4S_FIGURES") or "figures")
    (runs / "notebooks").mkdir(parents=True, exist_ok=True)
    lines = []
    for source in args.notebooks or sorted(HERE.glob("0*.ipynb")):
        print(f"{source.name} ...", file=sys.stderr, flush=True)
        executed = runs / "notebooks" / source.name
        started = time.time()
        papermill.execute_notebook(
            source, executed, cwd=ROOT, progress_bar=False, log_output=True, stdout_file=sys.stderr
        )
        written = [path.name for path in sorted(figures.glob("*.png")) if path.stat().st_mtime >= started]
        lines.append(f"{source.name:28} {(time.time() - started) / 60:5.1f} min   {', '.join(written) or 'no figures'}")
        if args.in_place:
            _put_in_place(executed, source)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
