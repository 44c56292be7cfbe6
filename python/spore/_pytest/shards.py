"""Which child runs which tests.

Tests are numbered in collection order, and a shard is a contiguous range of them, so that a
module's fixtures are set up in as few children as possible.
"""

from __future__ import annotations

from collections.abc import Iterable


def split(tests: int, children: int) -> list[range]:
    """Ranges of `tests` for at most `children` children: none empty, sizes within one."""
    if children < 1:
        raise ValueError(f"cannot split {tests} tests among {children} children")
    children = min(children, tests)
    bounds = [tests * index // children for index in range(children + 1)] if children else []
    return [range(start, stop) for start, stop in zip(bounds, bounds[1:])]


def to_ranges(indexes: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending `indexes` as (start, stop) pairs."""
    ranges: list[tuple[int, int]] = []
    for index in indexes:
        if ranges and ranges[-1][1] == index:
            ranges[-1] = (ranges[-1][0], index + 1)
        else:
            ranges.append((index, index + 1))
    return ranges


def from_ranges(ranges: Iterable[tuple[int, int]]) -> list[int]:
    """The indexes that `ranges` name."""
    return [index for start, stop in ranges for index in range(start, stop)]
