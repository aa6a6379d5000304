"""Which patches train, validate and test. A split depends on the ids alone, never on a run's seed."""

import numpy as np

from l4s_utils.errors import InputError, choose

SPLITS = ("paper",)
MINIMUM = 6  # patches: three in the half that is used, one for each part


def _unique(ids):
    ids = np.sort(np.asarray(ids, dtype=np.int64))
    if len(repeated := ids[1:][ids[1:] == ids[:-1]]):
        raise InputError(f"id {repeated[0]} occurs twice; every patch needs its own number")
    return ids


def paper(ids, seed=0) -> dict[str, np.ndarray]:
    """Half of the patches at random, split 60 / 20 / 20: 1,139 / 380 / 380 of 3,799.

    ids: integers, in any order. Returns sorted id arrays `train`, `val`, `test`; the other half
    is unused. The paper gives no list: `data/splits/paper.csv` holds this one for ids 1 - 3,799.
    Raises InputError for fewer than 6 patches. Source: paper, section 2.1.
    """
    ids = _unique(ids)
    if len(ids) < MINIMUM:
        raise InputError(f"{len(ids)} patches are too few for the split 'paper', which needs {MINIMUM} or more")
    # RandomState's stream is frozen for good, default_rng's is not: the lists must never change
    half = np.random.RandomState(seed).permutation(ids)[: len(ids) // 2]
    held_out = round(len(half) / 5)
    val, test, train = np.split(half, [held_out, 2 * held_out])
    return {"train": np.sort(train), "val": np.sort(val), "test": np.sort(test)}


def make(name, ids) -> dict[str, np.ndarray]:
    """The split of that name for these ids. Raises UsageError with the choices."""
    return {"paper": paper}[choose("split", name, SPLITS)](ids)
