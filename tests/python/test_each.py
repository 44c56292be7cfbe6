"""--spore-dist=each: a clean machine for every test, with a double of the engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., pytest.RunResult]

_DIRTY = """
    import pytest

    state = []

    @pytest.fixture(scope="session")
    def base():
        state.append("base")
        yield
        state.append("torn down")

    @pytest.fixture(scope="module")
    def module(base):
        state.append("module")

    @pytest.mark.parametrize("number", range(7))
    def test_sees_only_the_fixtures(number, module):
        assert state == ["base", "module"]
        state.append(number)
"""


def each(forked: Run, *arguments: str, fork: str = "--spore-fork=3") -> pytest.RunResult:
    return forked("--spore-dist=each", *arguments, fork=fork)


@pytest.mark.parametrize("children", [1, 3, 20])
def test_every_test_starts_at_the_fixture_point(
    pytester: pytest.Pytester, forked: Run, children: int
) -> None:
    pytester.makepyfile(_DIRTY)
    result = each(forked, fork=f"--spore-fork={children}")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=7)
    resets = 7 - min(children, 7)
    if resets:
        result.stdout.fnmatch_lines(
            [f"forked: *{children} child* forked in * {resets} resets of *"]
        )


def test_a_shard_does_share(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(_DIRTY)
    forked(fork="--spore-fork=2").assert_outcomes(passed=2, failed=5)


def test_a_crash_costs_one_test(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import os
        def test_before(): pass
        def test_exits(): os._exit(3)
        def test_between(): pass
        def test_killed(): os.kill(os.getpid(), 9)
        def test_panics(): os._exit(99)
        def test_after(): pass
    """)
    result = each(forked, "-rA", fork="--spore-fork=2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=3, failed=3)
    result.stdout.fnmatch_lines_random(
        [
            "while this test ran, pytest ended with status 3",
            "while this test ran, pytest was ended by signal 9 (SIGKILL)",
            "while this test ran, the machine panicked (Kernel panic - not syncing: double)",
            "PASSED *::test_after",
        ]
    )


def test_warnings_of_a_test_arrive(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import warnings
        def test_one(): warnings.warn("careful")
        def test_two(): warnings.warn("very careful")
    """)
    result = each(forked)
    result.assert_outcomes(passed=2, warnings=2)
    result.stdout.fnmatch_lines_random(["*careful*", "*very careful*"])


@pytest.mark.parametrize("arguments", [("-x",), ("--maxfail=2",)])
def test_stops_as_told(pytester: pytest.Pytester, forked: Run, arguments: tuple[str, ...]) -> None:
    pytester.makepyfile("""
        import pytest
        @pytest.mark.parametrize("number", range(30))
        def test_fails(number): assert 0
    """)
    result = each(forked, *arguments, fork="--spore-fork=1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1 if arguments == ("-x",) else 2)
