"""The command line: `l4s VERB`, also `python -m l4s_utils VERB`."""

import argparse
import os
import sys

from l4s_utils.errors import InputError, UsageError


def _sample(args):
    from l4s_utils import sample

    print(sample.write(args.out, patches=args.patches, seed=args.seed))


def _check(args):
    from l4s_utils import patches

    problems = patches.check(args.data)
    print("\n".join(problems) if problems else f"{args.data}: every file is sound")
    return int(bool(problems))


def _pack(args):
    from l4s_utils import patches

    packed = patches.pack(args.data, args.out, split=args.split)
    print(f"{args.out}: {len(packed):,} patches as {packed.images.dtype}, {packed.name}, hash {packed.hash[:16]}")


def _run(args):
    from l4s_utils import training

    run = training.run(args.experiment, args.data, args.runs, args.seed, args.preset, args.split)
    low, high = (run.interval[key] for key in ("low", "high"))
    print(f"{run.config['experiment']} on {run.config['data_name']}: F1 {run.test['f1']:.3f} [{low:.3f}, {high:.3f}]")
    print(run.path)


def _table(args):
    from l4s_utils import runs

    print(runs.render(runs.table(args.runs), args.format))


def _parser():
    """Empty defaults of data, runs and preset fall back to the environment, as in the notebooks."""
    parser = argparse.ArgumentParser(
        prog="l4s", description="Landslide4Sense, re-run: bands, augmentation, losses, models."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name, function, help):
        added = verbs.add_parser(name, help=help, description=help)
        added.set_defaults(function=function)
        return added

    sample = verb("sample", _sample, "write the stand-in data set in the real HDF5 layout")
    sample.add_argument("out", metavar="OUT")
    sample.add_argument("--patches", type=int, default=480, help="1 to 3799 (default: %(default)s)")
    sample.add_argument("--seed", type=int, default=0)

    check = verb("check", _check, "read every file of a data set; one line for each broken one, exit 1 if any")
    check.add_argument("data", metavar="DATA")

    pack = verb("pack", _pack, "turn HDF5 files into one memory-mapped packed set, verified")
    pack.add_argument("data", metavar="DATA")
    pack.add_argument("out", metavar="OUT")
    pack.add_argument("--split", default="train", help="train, valid or test (default: %(default)s)")

    run = verb("run", _run, "train and test one experiment, resume it, or reuse it; prints the run folder last")
    run.add_argument("experiment", metavar="EXPERIMENT", help="such as all, lovasz or fig2_unet_rgb")
    run.add_argument(
        "--data",
        default=os.environ.get("L4S_DATA", ""),
        help="data folder or packed set (default: the stand-in)",
    )
    run.add_argument(
        "--runs", default=os.environ.get("L4S_RUNS") or "runs", help="folder of runs (default: %(default)s)"
    )
    run.add_argument(
        "--preset",
        default=os.environ.get("L4S_PRESET") or "demo",
        help="smoke, demo or paper (default: %(default)s)",
    )
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--split", help="how patches are divided (default: the experiment's)")

    table = verb("table", _table, "print the paper's tables beside ours")
    table.add_argument(
        "--runs", default=os.environ.get("L4S_RUNS") or "runs", help="folder of runs (default: %(default)s)"
    )
    table.add_argument("--format", choices=("md", "csv", "json"), default="md")
    return parser


def main(arguments=None):
    """Run one verb; returns the exit status: 0, 1 (the work failed) or 2 (wrong use)."""
    args = _parser().parse_args(arguments)
    try:
        return args.function(args) or 0
    except UsageError as error:
        print(f"l4s {args.verb}: {error}", file=sys.stderr)
        return 2
    except (InputError, OSError) as error:
        print(f"l4s {args.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"l4s {args.verb}: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 1


def entry():
    """The installed command `l4s`."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
