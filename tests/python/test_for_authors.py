"""What test authors may ask for: fixtures and hooks. With a double of the engine, and without."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

Run = Callable[..., pytest.RunResult]

_TELLS = """
    import json
    import pytest

    @pytest.mark.parametrize("number", range(6))
    def test_tells(number, spore_child, pytestconfig):
        generation = spore_child.generation
        told = [spore_child.index, spore_child.count, generation.child_index, generation.number]
        (pytestconfig.rootpath / f"told-{number}").write_text(json.dumps(told))
"""


def _told(pytester: pytest.Pytester) -> list[list[int]]:
    return [json.loads((pytester.path / f"told-{number}").read_text()) for number in range(6)]


def test_the_child_of_a_run_without_forks(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(_TELLS)
    pytester.runpytest_subprocess().assert_outcomes(passed=6)
    assert _told(pytester) == [[0, 1, 0, 0]] * 6


def test_each_test_is_told_its_own_child(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(_TELLS)
    forked("--spore-dist=shard").assert_outcomes(passed=6)
    assert _told(pytester) == [[shard, 3, shard, 1] for shard in (0, 0, 1, 1, 2, 2)]


def test_a_child_that_is_put_back_keeps_its_index(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(_TELLS)
    forked("--spore-dist=each", fork="--spore-fork=2").assert_outcomes(passed=6)
    told = _told(pytester)
    assert {index for index, *_ in told} == {0, 1}
    assert {count for _, count, *_ in told} == {2}
    assert sorted(child for _, _, child, _ in told) == list(range(6))


def test_the_child_is_no_part_of_what_is_forked(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import pytest
        @pytest.fixture(scope="session")
        def wide(spore_child): pass
        def test_it(wide): pass
    """)
    result = forked()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ScopeMismatch: *function scoped fixture spore_child*"])
