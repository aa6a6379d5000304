from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from l4s_utils import splits
from l4s_utils.errors import InputError, UsageError

COMMITTED = Path(__file__).resolve().parents[1] / "data" / "splits" / "paper.csv"


def test_the_committed_split_is_the_one_that_runs():
    made = splits.paper(range(1, 3800))
    assert {part: len(ids) for part, ids in made.items()} == {"train": 1139, "val": 380, "test": 380}
    listed = pd.read_csv(COMMITTED).groupby("part")["id"].apply(lambda ids: sorted(ids))
    assert {part: ids.tolist() for part, ids in made.items()} == listed.to_dict()


def test_no_patch_is_in_two_parts():
    made = splits.paper(range(1, 3800))
    assert len(np.unique(np.concatenate(list(made.values())))) == 1899


def test_the_order_of_the_ids_does_not_matter():
    ids = np.arange(1, 101)
    a, b = splits.paper(ids), splits.paper(ids[::-1])
    assert all(np.array_equal(a[part], b[part]) for part in a)
    other = splits.paper(ids, seed=1)
    assert not np.array_equal(a["test"], other["test"])


@pytest.mark.parametrize("patches", [6, 7, 17])
def test_every_part_has_a_patch_from_six_on(patches):
    made = splits.paper(range(patches))
    assert all(len(ids) for ids in made.values())
    assert sum(map(len, made.values())) == patches // 2


def test_bad_ids_and_names_are_refused():
    with pytest.raises(InputError, match="5 patches are too few"):
        splits.paper(range(5))
    with pytest.raises(InputError, match="id 3 occurs twice"):
        splits.paper([1, 2, 3, 3, 4, 5])
    with pytest.raises(UsageError, match="unknown split 'papers': choose from paper"):
        splits.make("papers", range(10))
