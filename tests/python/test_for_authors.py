"""What test authors may ask for: fixtures and hooks. With a double of the engine, and without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from spore import pytest_plugin
from spore._pytest import hooks

Run = Callable[..., pytest.RunResult]

_REFERENCE = Path(__file__).parents[2] / "docs/pytest-plugin.md"

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


_HOOKS = """
    import os
    import random
    import pytest

    CALLS = []

    def pytest_spore_fixture_point(config, session):
        names = [item.name for item in session.items]
        CALLS.append(("point", len(names), config is session.config, os.environ.get("READY")))
        random.seed(7)

    def pytest_spore_generation(config, generation):
        CALLS.append(("generation", generation.shard_index, generation.number, random.random()))

    def pytest_spore_child_crashed(config, nodeid, reason):
        with open(config.rootpath / "crashes", "a") as file:
            print(nodeid, reason, sep=": ", file=file)

    @pytest.fixture(scope="session")
    def ready():
        os.environ["READY"] = "1"
"""


def test_the_hooks_of_the_machine_are_called_around_its_capture(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makeconftest(_HOOKS)
    pytester.makepyfile("""
        import random
        import pytest
        from conftest import CALLS
        @pytest.mark.parametrize("number", range(4))
        def test_it(number, ready, spore_child):
            index = spore_child.index
            # The one before the capture, and the one after it; nothing of other children.
            assert [call[0] for call in CALLS] == ["point", "generation"]
            assert CALLS[0][1:] == (4, True, "1")
            assert CALLS[1][1:3] == (index, 1)
            # Seeded before the hook, which is called after that.
            assert CALLS[1][3] == random.Random(5).random()
    """)
    for dist in ("shard", "each"):
        result = forked("--spore-seed=5", f"--spore-dist={dist}", fork="--spore-fork=2")
        result.assert_outcomes(passed=4)


def test_nothing_calls_the_hooks_without_forks(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(_HOOKS)
    pytester.makepyfile("""
        from conftest import CALLS
        def test_it(ready): assert CALLS == []
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_the_host_is_told_of_crashes(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makeconftest(_HOOKS)
    path = pytester.makepyfile("""
        import os, threading
        import pytest
        def test_exits(): os._exit(3)
        def test_panics(): os._exit(99)
        @pytest.mark.spore(timeout=2)
        def test_hangs(): threading.Event().wait()
        def test_fails(): assert 0
    """)
    forked(fork="--spore-fork=1").assert_outcomes(failed=4)
    assert (pytester.path / "crashes").read_text().splitlines() == [
        f"{path.name}::test_exits: pytest ended with status 3",
        f"{path.name}::test_panics: the machine panicked (Kernel panic - not syncing: double)",
        f"{path.name}::test_hangs: @pytest.mark.spore(timeout=2) passed; pytest was ended by"
        " signal 6 (SIGABRT)",
    ]


def test_a_crash_after_the_last_test_is_of_none(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makeconftest(
        _HOOKS
        + """
    def pytest_sessionfinish():
        if os.environ.get("SPORE_PYTEST_GUEST"):
            os._exit(3)
"""
    )
    pytester.makepyfile("def test_a(): pass\ndef test_b(): pass")
    forked(fork="--spore-fork=1")
    assert (pytester.path / "crashes").read_text() == "None: pytest ended with status 3\n"


@pytest.mark.parametrize("hook", ["fixture_point(config)", "generation(config)"])
def test_a_hook_that_fails_ends_the_run(pytester: pytest.Pytester, forked: Run, hook: str) -> None:
    pytester.makeconftest(f"def pytest_spore_{hook}: raise ValueError('not' + ' ready')")
    pytester.makepyfile("def test_a(): pass\ndef test_b(): pass")
    result = forked()
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["*ValueError: not ready*"])


def test_the_reference_has_all_that_there_is() -> None:
    parser = pytest.Parser(_ispytest=True)
    pytest_plugin.pytest_addoption(parser)
    names = [name for option in parser.getgroup("spore").options for name in option.names()]
    names += parser._ininames
    names += [name for name in vars(hooks) if name.startswith("pytest_spore")]
    reference = _REFERENCE.read_text("utf-8")
    assert len(names) == 18 + 8 + 3
    assert [name for name in names if f"| `{name}" not in reference] == []
