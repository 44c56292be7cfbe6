"""Who runs which tests, and in what order their reports are told."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

import pytest
from spore._pytest import schedule
from spore._pytest.ledger import Ledger
from spore._pytest.repeat import Repeats
from spore._pytest.reports import Call
from spore._pytest.schedule import Schedule

_DISTS = ["load", "loadfile", "loadscope", "loadgroup", "shard", "each"]


def _tests(files: int, each: int) -> list[str]:
    return [f"test_{file}.py::test_{number}" for file in range(files) for number in range(each)]


def _drain(plan: Schedule, turns: Sequence[int]) -> dict[int, list[int]]:
    """What each child takes, when they ask in the order `turns`, and then all in a row."""
    taken: dict[int, list[int]] = {}
    for child in [*turns, *(child for child in range(plan.children) for _ in range(10_000))]:
        if plan.has_more_for(child):
            taken.setdefault(child, []).extend(plan.take(child))
    return taken


@pytest.mark.parametrize("dist", _DISTS)
@pytest.mark.parametrize("children", [1, 2, 3, 8])
@pytest.mark.parametrize("files", [1, 2, 30])
def test_every_test_is_run_once(dist: str, children: int, files: int) -> None:
    tests = _tests(files, 7)
    chance = random.Random(children)
    marks = [chance.choice([None, "a", "b"]) for _ in tests]
    seconds = {test: chance.expovariate(1) for test in tests if chance.random() < 0.7}
    plan = Schedule(dist, tests, children, marks=marks, seconds=seconds)
    taken = _drain(plan, [chance.randrange(plan.children) for _ in range(50)])
    assert sorted(test for part in taken.values() for test in part) == list(range(len(tests)))
    assert plan.left == 0
    assert len(taken) <= plan.children <= children


def test_a_shard_is_one_part_of_all_in_order() -> None:
    plan = Schedule("shard", _tests(3, 7), 4)
    parts = [plan.take(child) for child in (3, 0, 2, 1)]
    assert sorted(parts)[0] == [0, 1, 2, 3, 4]
    assert {len(part) for part in parts} == {5, 6}
    assert not any(plan.has_more_for(child) for child in range(4))


@pytest.mark.parametrize(
    ("dist", "together"),
    [
        ("loadfile", [{0, 1, 2, 3, 4}, {5}]),
        ("loadscope", [{0}, {1, 2}, {3, 4}, {5}]),
        ("loadgroup", [{0, 5}, {1}, {2}, {3}, {4}]),
    ],
)
def test_what_belongs_together_stays_together(dist: str, together: list[set[int]]) -> None:
    tests = [
        *("a.py::test_1", "a.py::Test::test_2", "a.py::Test::test_3[x::y]"),
        *("a.py::Test::Inner::test_4", "a.py::Test::Inner::test_5", "b.py::test_6"),
    ]
    plan = Schedule(dist, tests, 2, marks=["g", None, None, None, None, "g"])
    parts = []
    while part := plan.take(len(parts) % 2):
        parts.append(set(part))
    assert sorted(parts, key=min) == together


def test_the_longest_come_first() -> None:
    tests = _tests(4, 3)
    plan = Schedule(
        "loadfile", tests, 2, seconds=dict.fromkeys(tests, 0.1) | {tests[7]: 5.0, tests[9]: 2.0}
    )
    assert [plan.take(0) for _ in range(4)][:2] == [[6, 7, 8], [9, 10, 11]]
    plan = Schedule("load", tests, 2, seconds=dict.fromkeys(tests, 0.1) | {tests[7]: 5.0})
    assert plan.take(1)[0] == 7


def test_tests_of_a_module_stay_with_a_child_until_the_others_are_idle() -> None:
    plan = Schedule("load", _tests(2, 100), 2)
    first = [plan.take(0), plan.take(1), plan.take(0), plan.take(1)]
    assert [{test // 100 for test in part} for part in first] == [{0}, {1}, {0}, {1}]
    # Parts get smaller, so that all end together.
    assert len(first[0]) > len(first[2]) >= 1
    while part := plan.take(0):
        helped = part
    assert helped[0] >= 100
    assert helped == sorted(helped)


def test_ten_thousand_files_are_no_burden() -> None:
    plan = Schedule("load", _tests(10_000, 1), 4)
    takes = 0
    while plan.take(takes % 4):
        takes += 1
    assert takes < 500


def test_a_child_has_work_while_it_waits_for_more() -> None:
    tests = _tests(1, 50)
    plan = Schedule("load", tests, 2, seconds=dict.fromkeys(tests[:25], 10.0))
    assert plan.needs_more([0])
    assert not plan.needs_more([0, 1])  # enough for a while
    quick = Schedule("load", tests, 2)
    assert not quick.needs_more([0, 1, 2])  # for all that is known they take hours
    quick.took(0, 0.001)
    assert quick.needs_more([0, 1, 2])
    assert not quick.needs_more(range(40))


def test_what_comes_after_the_end_is_forgotten() -> None:
    plan = Schedule("load", _tests(2, 10), 2)
    taken = {*plan.take(0), *plan.take(1)}
    plan.drop_after(11)
    taken |= {test for part in _drain(plan, []).values() for test in part}
    assert {test for test in taken if test <= 11} == set(range(12))
    assert plan.left == 0


@pytest.mark.parametrize("indexes", [[], [5], [0, 1, 2], [0, 2, 3, 9], [7, 8, 1, 2]])
def test_ranges_name_the_same_tests(indexes: list[int]) -> None:
    assert schedule.from_ranges(schedule.to_ranges(indexes)) == indexes


def test_ranges_are_few() -> None:
    assert schedule.to_ranges([0, 1, 2, 4, 5]) == [(0, 3), (4, 6)]


def _told(ledger: Ledger) -> list[int]:
    said: list[int] = []
    for calls in ledger.due():
        for call in calls:
            call()
            said.append(call.__defaults__[0])  # type: ignore[attr-defined]
    return said


def test_reports_are_told_in_collection_order() -> None:
    ledger = Ledger(4, 0)
    told = []
    for test in (2, 0, 3, 1):
        assert ledger.add(test, [lambda test=test: None], failures=1, stops=False) is None
        told.append(_told(ledger))
    assert told == [[], [0], [], [1, 2, 3]]


@pytest.mark.parametrize(
    ("most", "failing", "last"),
    [(1, [5], 5), (1, [5, 3], 3), (2, [5], None), (2, [5, 9, 3], 5), (3, [5, 9, 3], 9)],
)
def test_the_end_is_where_a_run_in_order_would_end(
    most: int, failing: list[int], last: int | None
) -> None:
    ledger = Ledger(10, most)
    answer = None
    for test in failing:
        answer = ledger.add(test, (), failures=1, stops=False)
    assert answer == last


def _call(number: int) -> Call:
    return functools.partial(int, number)


def test_runs_of_a_test_are_told_as_one() -> None:
    repeats = Repeats(["a", "b", "c"], 3)
    assert repeats.numbered() == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    failures = [0, 0, 0, 0, 2, 1, 1, 1, 1]
    answers = [repeats.add(number, [_call(number)], failures[number]) for number in range(9)]
    told = [answer for answer in answers if answer is not None]
    assert answers[2::3] == told
    assert [(one.failed, one.failures) for one in told] == [(0, 0), (2, 2), (3, 1)]
    assert [one.calls[0]() for one in told] == [0, 4, 6]  # the first that failed, else the first
    assert repeats.summary() == [
        "repeated: 3 runs of each test: 1 passed always, 1 failed always, 1 is flaky",
        "flaky:   b failed in 2 of 3 runs",
    ]


def test_a_test_may_stop_the_run() -> None:
    assert Ledger(10, 0).add(4, (), failures=0, stops=True) == 4
