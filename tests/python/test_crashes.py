"""Children that die: what each costs, with a double of the engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., pytest.RunResult]

_CRASHES = """
    import os
    import pytest

    def test_before(): pass
    def test_exits(): os._exit(3)
    def test_between(): pass
    def test_killed(): os.kill(os.getpid(), 9)
    def test_panics(): os._exit(99)

    @pytest.fixture
    def fatal():
        yield
        os._exit(4)

    def test_teardown(fatal): pass
    def test_after(): pass
"""


@pytest.mark.parametrize("children", [1, 2, 7])
def test_a_crash_costs_one_test(pytester: pytest.Pytester, forked: Run, children: int) -> None:
    pytester.makepyfile(test_crash=_CRASHES)
    result = forked("-rA", fork=f"--spore-fork={children}")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=4, failed=3, errors=1)
    result.stdout.fnmatch_lines_random(
        [
            "while this test ran, pytest ended with status 3",
            "while this test ran, pytest was ended by signal 9 (SIGKILL)",
            "while this test ran, the machine panicked (Kernel panic - not syncing: double)",
            "the console's end",
            "while this test ran, pytest ended with status 4",
            "FAILED test_crash.py::test_exits*",
            "FAILED test_crash.py::test_killed*",
            "FAILED test_crash.py::test_panics*",
            "ERROR test_crash.py::test_teardown*",
            "PASSED test_crash.py::test_after",
            "*4 crashes*",
        ]
    )


def test_a_child_that_cannot_start_its_tests_loses_one_at_a_time(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makeconftest("""
        import os
        def pytest_runtest_protocol(item):
            os._exit(5)
    """)
    pytester.makepyfile("def test_a(): pass\ndef test_b(): pass")
    result = forked(fork="--spore-fork=1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["before this test, the first of its child, started, *status 5"])


def test_a_child_lost_after_its_last_test_fails_the_run(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile("""
        import os
        def test_a(request):
            request.config.pluginmanager.register(Last())
        class Last:
            def pytest_sessionfinish(self):
                os._exit(6)
    """)
    result = forked(fork="--spore-fork=1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["spore: child 0 was lost after its last test: *status 6"])


def test_a_segmentation_fault_tells_where(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import faulthandler
        def crash_here(): faulthandler._sigsegv()
        def test_segfault(): crash_here()
        def test_after(): pass
    """)
    result = forked()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "while this test ran, pytest was ended by signal 11 (SIGSEGV)",
            "The end of its standard error:",
            "*test_a_segmentation_fault_tells_where.py*line 2 in crash_here",
        ]
    )


@pytest.mark.parametrize("dist", ["load", "each"])
def test_a_test_that_hangs_is_ended_with_its_stacks(
    pytester: pytest.Pytester, forked: Run, dist: str
) -> None:
    pytester.makepyfile("""
        import threading
        def wait_here(): threading.Event().wait()
        def test_before(): pass
        def test_hangs(): wait_here()
        def test_after(): pass
    """)
    result = forked("--spore-timeout=3", f"--spore-dist={dist}")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "while this test ran, --spore-timeout=3 passed; pytest was ended by signal 6 (SIGABRT)",
            "*line 2 in wait_here",
        ]
    )


def test_a_test_that_cannot_be_interrupted_ends_with_its_machine(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile("""
        import signal, time
        def test_hangs():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGABRT})
            time.sleep(1000)
        def test_after(): pass
    """)
    result = forked("--spore-timeout=3", fork="--spore-fork=1")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["while this test ran, --spore-timeout=3 passed; pytest had to be ended with its machine"]
    )


@pytest.mark.parametrize("value", ["0", "-1", "soon", "inf", "nan"])
def test_a_timeout_that_is_none_is_refused(
    pytester: pytest.Pytester, forked: Run, value: str
) -> None:
    pytester.makepyfile("def test_a(): pass")
    result = forked(f"--spore-timeout={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--spore-timeout={value}: give a number of seconds*"])


def test_an_engine_that_is_gone_ends_the_run_with_one_line(
    pytester: pytest.Pytester, forked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPORE_DOUBLE_ENGINE_GONE", "1")
    pytester.makepyfile("def test_a(): pass")
    result = forked()
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["*--spore-fork: the connection to the engine broke: *is gone*"])
    result.stdout.no_fnmatch_line("*Traceback*")
