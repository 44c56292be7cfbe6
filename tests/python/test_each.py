"""--spore-dist=each: a clean machine for every test, with a double of the engine."""

from __future__ import annotations

import re
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


def test_the_phases_of_forks_and_resets_are_shown_when_asked(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile(_DIRTY)
    result = each(forked, "--spore-timings")
    result.stdout.fnmatch_lines(
        [
            "timings: fork, medians of 3 in ms: shell 0.10, memory 0.20, *agent 5.00, user 0.04",
            "timings: reset, medians of 4 in ms: shell 0.10, *; 77 pages put back",
        ]
    )
    assert "timings:" not in each(forked).stdout.str()


_ALONE = """
    import os, pathlib, time
    import pytest

    running = pathlib.Path(__file__).with_name("running")

    @pytest.mark.parametrize("number", range(8))
    def test_runs_alone(number):
        running.touch(exist_ok=False)
        time.sleep(0.05)
        running.unlink()
"""


@pytest.mark.parametrize("dist", ["shard", "each"])
def test_a_budget_that_is_nearly_used_lets_fewer_children_run(
    pytester: pytest.Pytester, forked: Run, monkeypatch: pytest.MonkeyPatch, dist: str
) -> None:
    monkeypatch.setenv("SPORE_DOUBLE_PRIVATE_MIB", "40")
    pytester.makepyfile(_ALONE)
    result = forked(f"--spore-dist={dist}", "--spore-memory-budget=64M", fork="--spore-fork=4")
    result.assert_outcomes(passed=8)
    # With room enough they meet.
    assert forked(f"--spore-dist={dist}", fork="--spore-fork=4").parseoutcomes() != {"passed": 8}


def test_repeated_tests_tell_flaky_from_failing(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import pathlib, random
        import pytest

        runs = pathlib.Path(__file__).with_name("runs")
        state = []

        def test_passes():
            assert not state
            state.append(1)

        def test_flaky():
            with runs.open("a") as file:
                file.write("x")
            run = runs.stat().st_size
            print("run", run)
            assert run not in (3, 4)

        def test_fails(): assert 0
    """)
    result = forked("--spore-repeat=5", "--junitxml=junit.xml", fork="--spore-fork=1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "run 3",
            "failed in 2 of 5 runs from one state: it is flaky",
            "failed in 5 of 5 runs from one state",
            "repeated: 5 runs of each test: 1 passed always, 1 failed always, 1 is flaky",
            "flaky:   *::test_flaky failed in 2 of 5 runs",
        ]
    )
    assert (pytester.path / "junit.xml").read_text().count("<testcase ") == 3


def test_a_repeated_first_test_is_told_once(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import pathlib
        def test_flaky():
            runs = pathlib.Path(__file__).with_name("runs")
            with runs.open("a") as file:
                file.write("x")
            assert runs.stat().st_size != 2
    """)
    forked("--spore-repeat=3", fork="--spore-fork=1").assert_outcomes(failed=1)


def test_a_seed_makes_runs_the_same(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import random
        def test_one(): print("random", random.random())
        def test_two(): print("random", random.random())
    """)
    seeded = each(forked, "-rP", "--spore-seed=7").stdout.str()
    assert len(set(re.findall(r"random (\S+)", seeded))) == 1
    fresh = each(forked, "-rP").stdout.str()
    assert len(set(re.findall(r"random (\S+)", fresh))) == 2


def test_a_number_of_runs_that_is_none_is_refused(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("def test_a(): pass")
    result = forked("--spore-repeat=0")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--spore-repeat=0: give a number from 1 to *"])


def test_a_budget_too_small_for_one_child_is_refused(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile("def test_a(): pass")
    result = forked("--spore-memory-budget=8M")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--spore-memory-budget=8M: too small for one child*32M or more*"])
