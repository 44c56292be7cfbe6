from __future__ import annotations

import pytest
from spore._pytest import shards


@pytest.mark.parametrize("tests", [1, 2, 7, 100])
@pytest.mark.parametrize("children", [1, 2, 3, 8])
def test_every_test_is_in_exactly_one_shard(tests: int, children: int) -> None:
    plan = shards.split(tests, children)
    assert [index for shard in plan for index in shard] == list(range(tests))
    sizes = [len(shard) for shard in plan]
    assert len(plan) == min(tests, children)
    assert max(sizes) - min(sizes) <= 1


def test_no_tests_need_no_children() -> None:
    assert shards.split(0, 4) == []


def test_no_children_is_refused() -> None:
    with pytest.raises(ValueError, match="0 children"):
        shards.split(3, 0)


@pytest.mark.parametrize("indexes", [[], [5], [0, 1, 2], [0, 2, 3, 9]])
def test_ranges_name_the_same_tests(indexes: list[int]) -> None:
    assert shards.from_ranges(shards.to_ranges(indexes)) == indexes


def test_ranges_are_few() -> None:
    assert shards.to_ranges([0, 1, 2, 4, 5]) == [(0, 3), (4, 6)]
