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


def test_an_engine_that_is_gone_ends_the_run_with_one_line(
    pytester: pytest.Pytester, forked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPORE_DOUBLE_ENGINE_GONE", "1")
    pytester.makepyfile("def test_a(): pass")
    result = forked()
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["*--spore-fork: the connection to the engine broke: *is gone*"])
    result.stdout.no_fnmatch_line("*Traceback*")
