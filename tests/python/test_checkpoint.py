"""spore_checkpoint: the rest of a test in several machines, with a double of the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from spore._pytest.checkpoint import Branches

Run = Callable[..., pytest.RunResult]

_NOTE = """
    import pathlib
    def note(text):
        with pathlib.Path(__file__).with_name("log").open("a") as file:
            file.write(text + "\\n")
"""


def _log(pytester: pytest.Pytester) -> list[str]:
    return sorted(Path(pytester.path, "log").read_text().splitlines())


@pytest.mark.parametrize("dist", ["load", "each"])
def test_the_rest_of_a_test_runs_in_every_branch(
    pytester: pytest.Pytester, forked: Run, dist: str
) -> None:
    pytester.makepyfile(
        _NOTE
        + """
    def test_before(): pass

    def test_branches(spore_checkpoint):
        state = ["prepared"]
        note("prepared")
        for branch in spore_checkpoint.fork(3):
            assert state == ["prepared"] and branch.count == 3
            state.append(branch.index)
            note(f"branch {branch.index}")
        assert state == ["prepared", branch.index]
        note("after")

    def test_later(): note("later")
    def test_last(): note("last")
    """
    )
    result = forked(f"--spore-dist={dist}", "-v", fork="--spore-fork=2")
    result.assert_outcomes(passed=4)
    assert _log(pytester) == [
        *["after"] * 3,
        *("branch 0", "branch 1", "branch 2", "last", "later", "prepared"),
    ]


def test_branches_may_branch_again(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(
        _NOTE
        + """
    def test_tree(spore_checkpoint):
        for outer in spore_checkpoint.fork(2):
            for inner in spore_checkpoint.fork(3 if outer.index else 2):
                note(f"{outer.index}{inner.index}")
        assert (outer.index, inner.index) not in [(0, 1), (1, 2)]
    """
    )
    result = forked()
    result.assert_outcomes(failed=1)
    assert _log(pytester) == ["00", "01", "10", "11", "12"]
    result.stdout.fnmatch_lines(["*Checkpoint*", "failed in 2 of 5 branches: 0.1, 1.2"])


def test_a_branch_that_crashes_fails_its_test_and_no_other(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile("""
        import os
        import pytest
        @pytest.mark.parametrize("crashing", [0, 1, 5])
        def test_crashes(spore_checkpoint, crashing):
            for branch in spore_checkpoint.fork(2):
                if branch.index == crashing:
                    os._exit(3)
        def test_after(): pass
    """)
    result = forked(fork="--spore-fork=1")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        ["while this test ran, pytest ended with status 3", "failed in 1 of 2 branches: 0"]
    )
    result.stdout.fnmatch_lines(["failed in 1 of 2 branches: 1"])


def test_fixtures_are_torn_down_in_every_branch(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(
        _NOTE
        + """
    import pytest
    @pytest.fixture
    def thing():
        yield
        note("down")
    @pytest.fixture(scope="module")
    def large():
        yield
        note("large down")
    def test_a(spore_checkpoint, thing, large):
        for branch in spore_checkpoint.fork(4): pass
    def test_b(large): pass
    """
    )
    forked("--spore-scope=module").assert_outcomes(passed=2)
    assert _log(pytester) == [*["down"] * 4, "large down"]


def test_without_forks_there_is_one_branch(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        def test_a(spore_checkpoint):
            seen = [(branch.index, branch.count) for branch in spore_checkpoint.fork(3)]
            assert seen == [(0, 1)]
    """)
    pytester.runpytest_subprocess("-p", "no:xdist").assert_outcomes(passed=1)


def test_a_number_of_branches_that_is_none_is_refused(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile("""
        def test_a(spore_checkpoint):
            for branch in spore_checkpoint.fork(0): pass
    """)
    result = forked()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*a checkpoint can be forked 1 to 256 times, not 0"])


def test_repeated_tests_branch_in_every_run(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(
        _NOTE
        + """
    def test_a(spore_checkpoint):
        for branch in spore_checkpoint.fork(2):
            note(str(branch.index))
    """
    )
    forked("--spore-repeat=3").assert_outcomes(passed=1)
    assert _log(pytester) == ["0"] * 3 + ["1"] * 3


def test_branches_are_told_as_one_when_all_are_over() -> None:
    group = Branches([], 3)
    assert group.end("10", [], 0) is None
    assert group.end("2", [print], 1) is None
    assert group.end("0", [], 0) == ([print], 1)


def test_a_machine_that_asks_for_nonsense_is_ended(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        def test_a(request):
            plugin = request.config.pluginmanager.getplugin("spore-guest")
            plugin.send("checkpoint", count="many")
            plugin._channel.receive()
        def test_b(): pass
    """)
    result = forked()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*the machine asked for 'many' branches"])
