"""@pytest.mark.spore, with a double of the engine, and without."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from spore._pytest import frames, marks
from spore._pytest.marks import TestMark

Run = Callable[..., pytest.RunResult]


def _items(pytester: pytest.Pytester, text: str) -> list[pytest.Item]:
    items, _ = pytester.inline_genitems(pytester.makepyfile(f"import pytest\n{text}"))
    return items


def test_marks_are_strict_pytest_marks(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import pytest
        @pytest.mark.spore(timeout=60, alone=True)
        def test_a(): pass
    """)
    pytester.runpytest_subprocess("--strict-markers").assert_outcomes(passed=1)
    forked("--strict-markers").assert_outcomes(passed=1)
    shown = pytester.runpytest_subprocess("--markers").stdout.str()
    assert "@pytest.mark.spore(timeout=SECONDS, alone=True): with --spore-fork, how" in shown


def test_the_closest_mark_wins_argument_by_argument(pytester: pytest.Pytester) -> None:
    items = _items(
        pytester,
        """
pytestmark = pytest.mark.spore(timeout=100)

def test_module(): pass

@pytest.mark.spore(alone=True)
class TestClass:
    def test_class(self): pass

    @pytest.mark.spore(timeout=0.5)
    def test_method(self): pass

    @pytest.mark.spore(alone=False, timeout=7)
    def test_other(self): pass
""",
    )
    assert marks.to_tell(items) == [
        (0, 100.0, False),
        (1, 100.0, True),
        (2, 0.5, True),
        (3, 7.0, False),
    ]


def test_tests_without_marks_are_not_told(pytester: pytest.Pytester) -> None:
    assert marks.to_tell(_items(pytester, "def test_a(): pass")) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("60", "60 has no name: it takes timeout=SECONDS and alone=True"),
        ("time=3", "there is no time: it takes timeout=SECONDS and alone=True"),
        ("timeout=0", "timeout=0: give a number of seconds, such as 60 or 0.5"),
        ("timeout=-1.5", "timeout=-1.5: give a number of seconds*"),
        ("timeout='60'", "timeout='60': give a number of seconds*"),
        ("timeout=True", "timeout=True: give a number of seconds*"),
        ("timeout=None", "timeout=None: give a number of seconds*"),
        ("timeout=float('nan')", "timeout=nan: give a number of seconds*"),
        ("timeout=float('inf')", "timeout=inf: give a number of seconds*"),
        ("timeout=10**400", "timeout=1000*: give a number of seconds*"),
        ("timeout='a\\n' * 1000", "timeout='a*': give a number of seconds*"),
        ("alone=1", "alone=1: give True or False"),
        ("alone=None", "alone=None: give True or False"),
    ],
)
def test_a_wrong_mark_is_a_usage_error_that_names_the_test(
    pytester: pytest.Pytester, forked: Run, arguments: str, complaint: str
) -> None:
    path = pytester.makepyfile(f"""
        import pytest
        @pytest.mark.spore(timeout=5, alone=True)
        class TestClass:
            @pytest.mark.spore({arguments})
            def test_it(self): pass
    """)
    result = forked()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    name = f"{path.name}::TestClass::test_it"
    result.stderr.fnmatch_lines([f"ERROR: {name}: @pytest.mark.spore: {complaint}"])
    assert len([line for line in result.errlines if line]) == 1


def test_many_wrong_marks_are_counted(pytester: pytest.Pytester) -> None:
    items = _items(
        pytester,
        """
@pytest.mark.spore(timeout=-1)
@pytest.mark.parametrize("number", range(30))
def test_it(number): pass
""",
    )
    with pytest.raises(pytest.UsageError) as raised:
        marks.to_tell(items)
    assert len(raised.value.args) == 21
    assert raised.value.args[-1] == "and 10 more"


@pytest.mark.parametrize("dist", ["load", "each"])
def test_a_test_has_its_own_time(pytester: pytest.Pytester, forked: Run, dist: str) -> None:
    pytester.makepyfile("""
        import threading
        import pytest
        def test_before(): pass
        @pytest.mark.spore(timeout=2)
        def test_hangs(): threading.Event().wait()
        def test_after(): pass
    """)
    result = forked(f"--spore-dist={dist}", fork="--spore-fork=1")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["while this test ran, @pytest.mark.spore(timeout=2) passed; pytest was ended by signal 6*"]
    )


def test_a_test_may_take_longer_than_others(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import threading, time
        import pytest
        @pytest.mark.spore(timeout=60)
        def test_long(): time.sleep(3)
        def test_hangs(): threading.Event().wait()
    """)
    result = forked("--spore-timeout=2", fork="--spore-fork=1")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["while this test ran, --spore-timeout=2 passed; *"])


def test_what_is_told_is_understood() -> None:
    assert marks.told([(1, None, True), (0, 2.5, False)], 2) == {
        0: TestMark(2.5),
        1: TestMark(None, True),
    }
    assert marks.told([], 0) == {}


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        {},
        [7],
        [(0, 1.0)],
        [[0, 1.0, False]],
        [(-1, 1.0, False)],
        [(2, 1.0, False)],
        [(True, 1.0, False)],
        [("0", 1.0, False)],
        [(0, 0, False)],
        [(0, float("nan"), False)],
        [(0, float("inf"), False)],
        [(0, 10**400, False)],
        [(0, "1", False)],
        [(0, 1.0, 1)],
        [(0, 1.0, False), (0, 2.0, False)],
    ],
)
def test_what_no_guest_of_ours_tells_is_refused(nonsense: object) -> None:
    with pytest.raises(frames.FrameError, match=r" is no mark of a test"):
        marks.told(nonsense, 2)


def test_a_guest_that_lies_about_its_marks_ends_the_run(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makeconftest("""
        import os
        if os.environ.get("SPORE_PYTEST_GUEST"):
            from spore._pytest import marks
            marks.to_tell = lambda items: [(0, "for ever", False)]
    """)
    pytester.makepyfile("def test_a(): pass")
    result = forked()
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["*the machine sent nonsense: (0, 'for ever', False) is no*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize("dist", ["load", "loadfile", "shard", "each"])
def test_a_test_alone_has_a_clean_machine_before_and_after_it(
    pytester: pytest.Pytester, forked: Run, dist: str
) -> None:
    pytester.makepyfile("""
        import pytest
        state = []

        @pytest.mark.parametrize("number", range(4))
        def test_before(number):
            assert "alone" not in state
            state.append(number)

        @pytest.mark.spore(alone=True)
        @pytest.mark.parametrize("number", range(2))
        def test_alone(number):
            assert not state
            state.append("alone")

        @pytest.mark.parametrize("number", range(4))
        def test_after(number):
            assert "alone" not in state
            state.append(number)
    """)
    forked(f"--spore-dist={dist}", fork="--spore-fork=2").assert_outcomes(passed=10)
