"""The fixture points of a session: where machines are captured, and what is set up there.

The first is the session's. With --spore-scope there are more below it: one for each package, module
and class, down to that level, that has fixtures of its own. Tests start from the deepest point that
they are below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from _pytest.fixtures import FixtureDef
    from _pytest.nodes import Node

LEVELS = ("session", "package", "module", "class")


@dataclass
class Point:
    """One of them."""

    node: Node  # the session, package, module or class
    parent: int = 0  # the number of the point that it starts from
    # In the order in which the tests ask for them; the test that asks first, and under which name.
    fixtures: dict[FixtureDef[Any], tuple[pytest.Item, str]] = field(default_factory=dict)


def find_points(session: pytest.Session, deepest: str) -> tuple[list[Point], list[int]]:
    """All points, each behind the one that it starts from, and the number of each test's point."""
    by_node: dict[Node, Point] = {session: Point(session)}
    for item in session.items:
        for node, name, fixture in _fixtures_of(item, LEVELS[: LEVELS.index(deepest) + 1]):
            point = by_node.setdefault(node, Point(node))
            point.fixtures.setdefault(fixture, (item, name))
    points = [by_node[session]]
    numbers: dict[Node, int] = {session: 0}
    of_tests = []
    for item in session.items:
        number = 0
        for node in item.listchain():
            if node in by_node and node not in numbers:
                by_node[node].parent = number
                numbers[node] = len(points)
                points.append(by_node[node])
            number = numbers.get(node, number)
        of_tests.append(number)
    return points, of_tests


def _fixtures_of(
    item: pytest.Item, levels: Sequence[str]
) -> Iterator[tuple[Node, str, FixtureDef[Any]]]:
    """What `item` sets up of these scopes, in the order in which it does so, and for which node.

    Not fixtures that are parametrised, or that need one that is: they differ from test to test.
    """
    info = getattr(item, "_fixtureinfo", None)
    if info is None or getattr(item, "_request", None) is None or not _sets_up(item):
        return
    definitions = info.name2fixturedefs

    def varies(name: str, seen: frozenset[str]) -> bool:
        if name in seen or name not in definitions:
            return False
        fixture = definitions[name][-1]
        if fixture.params is not None:
            return True
        return any(varies(argument, seen | {name}) for argument in fixture.argnames)

    callspec = getattr(item, "callspec", None)
    direct = set(callspec.params) if callspec is not None else set()
    for name in item.fixturenames:  # type: ignore[attr-defined]
        if name not in definitions or name in direct or varies(name, frozenset()):
            continue
        fixture = definitions[name][-1]
        node = _node_of(item, fixture) if fixture.scope in levels else None
        if node is not None:
            yield node, name, fixture


def _sets_up(item: pytest.Item) -> bool:
    """Whether the marks of `item` let it set up anything."""
    from _pytest.skipping import evaluate_skip_marks, evaluate_xfail_marks

    try:
        expected_failure = evaluate_xfail_marks(item)
        return not evaluate_skip_marks(item) and (
            expected_failure is None or expected_failure.run or item.config.option.runxfail
        )
    except pytest.fail.Exception:
        return False  # a mark that cannot be evaluated: the test says so when it runs


def _node_of(item: pytest.Item, fixture: FixtureDef[Any]) -> Node | None:
    """Whose end tears the fixture down; None: the test's own, as for a class scope without one."""
    from _pytest.fixtures import get_scope_node, get_scope_package

    if fixture.scope == "package":
        return get_scope_package(item, fixture)
    return get_scope_node(item, fixture._scope)
