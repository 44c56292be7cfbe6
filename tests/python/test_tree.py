"""Which spore a test starts from, and what a guest may say of that."""

from __future__ import annotations

from typing import Any

import pytest
from spore._pytest import frames, marks
from spore._pytest.reports import Collected
from spore._pytest.tree import Tree

# The session; a package; two modules in it; a class in the first.
_PARENTS = [0, 0, 1, 1, 2]


def _tree(*point_of: int) -> Tree:
    return Tree(_PARENTS, list(point_of), "session")  # type: ignore[arg-type]


def test_a_point_is_reached_over_all_points_above_it() -> None:
    tree = _tree(4, 3, 0)
    assert tree.way_to(0) == ("session", None)
    for point, spore in ((1, "package"), (2, "module"), (4, "class")):
        _, following = tree.way_to(4)
        assert following == point
        tree.reached(point, spore)  # type: ignore[arg-type]
    assert tree.way_to(4) == ("class", None)
    assert tree.way_to(3) == ("package", 3)


def test_others_keep_to_what_is_not_about_to_be_reached() -> None:
    tree = _tree(4, 3, 0)
    assert tree.closed() == set()
    tree.reach(1)
    assert tree.closed() == {1, 2, 3, 4}
    tree.reached(1, "package")  # type: ignore[arg-type]
    tree.reach(2)
    assert tree.closed() == {2, 4}
    tree.leave(2)
    assert tree.closed() == set()


def test_what_cannot_be_reached_is_passed_by() -> None:
    tree = _tree(4, 3)
    tree.reached(1, "package")  # type: ignore[arg-type]
    tree.reach(2)
    assert tree.give_up(2) == 1
    assert tree.way_to(4) == ("package", 4)
    assert tree.closed() == set()


def test_spores_that_no_test_needs_are_forgotten() -> None:
    tree = _tree(4, 2, 3)
    for point, spore in ((1, "package"), (2, "module"), (4, "class")):
        tree.reached(point, spore)  # type: ignore[arg-type]
    tree.finish(0)
    assert tree.way_to(4) == ("module", 4)
    tree.finish(1)
    assert tree.way_to(2) == ("package", 2)
    tree.finish(2)
    assert tree.way_to(1) == ("session", 1)
    assert tree.way_to(0) == ("session", None)


def test_tests_set_apart_start_where_they_would_but_share_with_none() -> None:
    tree = _tree(2, 2, 0)
    tree.set_apart(0)
    tree.set_apart(2)
    assert tree.point_of == [5, 2, 6]
    assert tree.way_to(5) == ("session", 1)
    for point, spore in ((1, "package"), (2, "module")):
        tree.reached(point, spore)  # type: ignore[arg-type]
    assert tree.way_to(5) == ("module", None)
    assert tree.way_to(6) == ("session", None)
    tree.finish(1)
    assert tree.way_to(5) == ("module", None)
    tree.finish(0)
    assert tree.way_to(2) == ("session", 1)


_MESSAGE = {
    "type": "collected",
    "tests": ["a.py::test_a", "a.py::test_b"],
    "groups": [None, "g"],
    "points": [("", 0), ("a.py", 0)],
    "point_of": [1, 0],
    "marks": [(1, 2.5, True)],
    "stepwise": ("a.py::test_b", 2),
}


def test_what_was_collected_is_read() -> None:
    collected = Collected.read(_MESSAGE)
    assert collected.tests == ["a.py::test_a", "a.py::test_b"]
    assert collected.points == [("", 0), ("a.py", 0)]
    assert collected.marks == {1: marks.TestMark(2.5, alone=True)}
    assert collected.stepwise == ("a.py::test_b", 2)


@pytest.mark.parametrize(
    "change",
    [
        {"tests": None},
        {"tests": ["only one"]},
        {"groups": []},
        {"points": []},
        {"points": [("", 0), ("a.py", 1)]},
        {"points": [("", 0), ("a.py", -1)]},
        {"points": [("", 0), "a.py"]},
        {"points": [("", 0), ("a.py", "zero")]},
        {"point_of": [0]},
        {"point_of": [0, 2]},
        {"point_of": [0, -1]},
        {"point_of": ["x", 0]},
        {"point_of": 7},
        {"marks": [(2, 1.0, False)]},
        {"marks": None},
        {"stepwise": "a.py::test_b"},
        {"stepwise": (None, "two")},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(frames.FrameError, match=r"collected|no mark of a test"):
        Collected.read({**_MESSAGE, **change})
