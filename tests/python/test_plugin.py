"""The plugin's logic, with a double of the engine: it reports what plain pytest reports."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., pytest.RunResult]

_MIXED = """
    import os
    import warnings

    import pytest

    @pytest.fixture(scope="session")
    def base():
        print("base is up")
        yield os.getpid()

    @pytest.fixture(scope="session")
    def broken():
        raise ValueError("no data")

    @pytest.fixture(scope="session")
    def skipping():
        pytest.skip("not here")

    @pytest.fixture(scope="session", params=["a", "b"])
    def flavour(request):
        return request.param

    @pytest.fixture(scope="module", autouse=True)
    def module():
        yield

    def test_passes(base):
        assert os.getpid() != base, "this is no fork"

    def test_warns(base):
        warnings.warn("careful")

    def test_fails(base):
        print("some output")
        assert [1] == [2]

    def test_needs_broken(broken):
        pass

    def test_needs_skipping(skipping):
        pass

    @pytest.mark.skip(reason="no")
    def test_skipped(broken):
        pass

    @pytest.mark.xfail
    def test_expected():
        assert 0

    @pytest.mark.xfail
    def test_unexpected():
        pass

    @pytest.mark.parametrize("number", range(5))
    def test_numbers(number, flavour):
        assert (number, flavour) != (3, "b")

    class TestTeardown:
        @pytest.fixture
        def leaves(self):
            yield
            raise RuntimeError("left")

        def test_left(self, leaves):
            pass
"""


def _outcomes(path: Path) -> dict[str, list[str]]:
    """Outcome tags by test id of a JUnit XML file."""
    cases: dict[str, list[str]] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        cases.setdefault(name, []).extend(kinds)
    return {name: sorted(kinds) for name, kinds in cases.items()}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-k", "numbers"),
        ("-m", "xfail"),
        ("--deselect", "test_mixed.py::test_fails"),
        ("-s",),
        ("--spore-dist=each",),
    ],
    ids=" ".join,
)
def test_outcomes_and_status_are_those_of_plain_pytest(
    pytester: pytest.Pytester, forked: Run, arguments: tuple[str, ...]
) -> None:
    pytester.makepyfile(
        test_mixed=_MIXED.replace("os.getpid() != base", "base"),
        test_other="""
        def test_more():
            pass
    """,
    )
    plain = pytester.runpytest_subprocess("--junitxml=plain.xml", *arguments, timeout=60)
    result = forked("--junitxml=forked.xml", *arguments)
    assert result.ret == plain.ret
    outcomes = _outcomes(pytester.path / "plain.xml")
    assert outcomes
    assert _outcomes(pytester.path / "forked.xml") == outcomes
    assert result.parseoutcomes() == plain.parseoutcomes()


def test_session_fixtures_are_set_up_once_and_forked(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile(test_mixed=_MIXED)
    pytester.makeconftest("""
        import pathlib
        import pytest

        @pytest.fixture(scope="session", autouse=True)
        def count():
            with pathlib.Path("setups").open("a") as file:
                file.write("x")
    """)
    result = forked("-rA")
    assert (pytester.path / "setups").read_text() == "x"
    result.stdout.fnmatch_lines(
        [
            "*session fixture 'broken' failed before the fixture point: ValueError: no data",
            "once:*session fixtures set up in * s: count, base",
            "forked:*3 children*",
            "memory:*",
        ]
    )
    # What a fixture prints is shown with the first test that needs it, as without forks.
    assert result.stdout.str().count("base is up") == 1
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_children_are_forks_of_one_process(pytester: pytest.Pytester, forked: Run) -> None:
    # NumPy's generator, because Python reseeds its own after the double's os.fork().
    pytest.importorskip("numpy")
    pytester.makepyfile("""
        import os
        import numpy
        import pytest

        @pytest.fixture(scope="session")
        def warm():
            numpy.random.seed(1)
            return os.getpid()

        @pytest.mark.parametrize("number", range(3))
        def test_it(number, warm):
            print(f"parent={warm} child={os.getpid()} random={numpy.random.random()}")
    """)
    text = forked("-rP").stdout.str()
    assert len(set(re.findall(r"parent=(\d+)", text))) == 1
    assert len(set(re.findall(r"child=(\d+)", text))) == 3
    assert len(set(re.findall(r"random=(\S+)", text))) == 3
    kept = forked("-rP", "--spore-keep-random-state").stdout.str()
    assert len(set(re.findall(r"random=(\S+)", kept))) == 1


@pytest.mark.parametrize(
    ("arguments", "count"), [(("-x",), 1), (("--maxfail=2",), 2)], ids=["x", "maxfail"]
)
def test_stopping_early(
    pytester: pytest.Pytester, forked: Run, arguments: tuple[str, ...], count: int
) -> None:
    pytester.makepyfile("""
        import pytest
        @pytest.mark.parametrize("number", range(30))
        def test_it(number):
            assert 0
    """)
    result = forked(*arguments)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=count)
    result.stdout.fnmatch_lines([f"*stopping after {count} failures*"])


_BEFORE_THE_FORK = {
    "collection error": ({"test_a": "import nothing_like_this", "test_b": "def test(): pass"}, ()),
    "collection error, going on": (
        {"test_a": "import nothing_like_this", "test_b": "def test(): pass"},
        ("--continue-on-collection-errors",),
    ),
    "collection error, stopping": (
        {"test_a": "import nothing_like_this", "test_b": "import nor_like_this"},
        ("-x",),
    ),
    "no tests": ({"test_a": ""}, ()),
    "all deselected": ({"test_a": "def test(): pass"}, ("-k", "nothing")),
    "no such file": ({"test_a": ""}, ("missing.py",)),
    "no such test": ({"test_a": "def test(): pass"}, ("test_a.py::test_b",)),
    "exit while collecting": ({"test_a": "import pytest; pytest.exit('enough', 7)"}, ()),
    "exit in a fixture": (
        {
            "test_a": "import pytest\n@pytest.fixture(scope='session', autouse=True)\n"
            "def leave(): pytest.exit('enough', 8)\ndef test(): pass"
        },
        (),
    ),
    "exit in a test": ({"test_a": "import pytest\ndef test(): pytest.exit('enough', 9)"}, ()),
    "interrupt in a test": ({"test_a": "def test(): raise KeyboardInterrupt"}, ()),
    "should stop": ({"test_a": "def test(request): request.session.shouldstop = 'stop it'"}, ()),
    "should fail": ({"test_a": "def test(request): request.session.shouldfail = 'fail it'"}, ()),
    "skipped module": ({"test_a": "import pytest; pytest.skip('x', allow_module_level=True)"}, ()),
}


@pytest.mark.parametrize("case", _BEFORE_THE_FORK)
def test_early_ends_are_those_of_plain_pytest(
    pytester: pytest.Pytester, forked: Run, case: str
) -> None:
    files, arguments = _BEFORE_THE_FORK[case]
    pytester.makepyfile(**files)
    plain = pytester.runpytest_subprocess(*arguments, timeout=60)
    result = forked(*arguments)
    assert result.ret == plain.ret
    for output, expected in ((result.stdout, plain.stdout), (result.stderr, plain.stderr)):
        lines = set(output.lines)
        noise = re.compile(
            r"^$|=====|^plugins:|^test_\w+\.py |\d+%\]| in \d+\.\d+s|: KeyboardInterrupt$"
        )
        missing = [line for line in expected.lines if line not in lines and not noise.search(line)]
        assert missing == []


def test_a_broken_plugin_in_the_machine_is_an_internal_error(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makeconftest("""
        def pytest_collection_modifyitems():
            raise LookupError("lost the items")
    """)
    pytester.makepyfile("def test_a(): pass")
    result = forked()
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["INTERNALERROR>*LookupError: lost the items*"])


def test_pytest_that_dies_before_the_fork_ends_the_run(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile("import os; os._exit(77)")
    result = forked()
    assert result.ret == 77
    result.stdout.fnmatch_lines(["*pytest ended with status 77 in the machine*"])


def test_a_fixture_that_takes_pytest_along_ends_the_run(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile("""
        import os, pytest
        @pytest.fixture(scope="session")
        def fatal(): os._exit(76)
        def test_a(fatal): pass
    """)
    assert forked().ret == 76


def test_the_controller_imports_no_test(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import os
        where = "guest" if "SPORE_PYTEST_GUEST" in os.environ else "controller"
        print(f"imported by {where}\\n", end="")
        def test_a(): assert "SPORE_PYTEST_GUEST" in os.environ
    """)
    result = forked("-s")
    assert result.ret == 0
    assert result.stdout.str().count("imported by guest") == 1
    assert "imported by controller" not in result.stdout.str()


def test_collect_only_and_fixtures_are_answered_by_one_machine(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile(test_mixed=_MIXED)
    for arguments in (("--collect-only", "-q"), ("--fixtures",), ("--setup-plan",)):
        plain = pytester.runpytest_subprocess(*arguments, timeout=60)
        result = forked(*arguments)
        assert result.ret == plain.ret
        different = set(plain.stdout.lines) ^ set(result.stdout.lines)
        assert [line for line in different if " in 0." not in line and "plugins:" not in line] == []


def test_last_failed_works_across_runs(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("def test_a(): pass\ndef test_b(): assert 0\ndef test_c(): pass")
    assert forked().ret == 1
    result = forked("--lf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["run-last-failure: rerun previous 1 failure"])


def test_verbose_lines_are_whole(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import pytest
        @pytest.mark.parametrize("number", range(20))
        def test_it(number): pass
    """)
    lines = [line for line in forked("-v").stdout.lines if "PASSED" in line]
    assert len(lines) == 20
    assert all(re.fullmatch(r"\S+::test_it\[\d+\] PASSED +\[ *\d+%\]", line) for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--spore-fork=0",), "*--spore-fork=0: give a number from 1 to 1024, or auto*"),
        (("--spore-memory=much",), "*--spore-memory=much: not a size*"),
        (("--spore-cpus=9",), "*--spore-cpus=9: a machine has 1 to 8 CPUs*"),
        (("-o", "spore_memory=much"), "*ERROR: spore_memory=much: not a size such as 512M or 2G"),
        (("-o", "spore_cpus=two"), "*ERROR: spore_cpus=two: a machine has 1 to 8 CPUs"),
        (("--pdb",), "*--pdb and --trace need a terminal*"),
        (("-o", "spore_env=NOTHING"), "*spore_env: 'NOTHING' is not NAME=VALUE*"),
        (("-o", "spore_paths=/no/such/path"), "*spore_paths: there is no /no/such/path*"),
        (("--rootdir=/",), "*the whole host cannot be put into an image*"),
    ],
)
def test_bad_options_are_usage_errors(
    pytester: pytest.Pytester, forked: Run, arguments: tuple[str, ...], message: str
) -> None:
    pytester.makepyfile("def test_a(): pass")
    result = forked(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_xdist_and_forks_exclude_each_other(pytester: pytest.Pytester, forked: Run) -> None:
    pytest.importorskip("xdist")
    pytester.makeini("[pytest]")
    pytester.makepyfile("def test_a(): pass")
    result = forked("-n2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*use one of them*"])


def test_the_option_does_not_swallow_a_path(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(test_a="def test_a(): pass", test_b="def test_b(): assert 0")
    result = forked("test_a.py", fork="--spore-fork")
    assert result.ret == 0
    result.assert_outcomes(passed=1)


def test_environment_and_setup_reach_the_machine(
    pytester: pytest.Pytester, forked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_VARIABLE", "kept")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/host/only")
    pytester.makeini("""
        [pytest]
        spore_env =
            ADDED=by ini
        spore_setup =
            export PREPARED=yes
            touch prepared
    """)
    pytester.makepyfile("""
        import os, pathlib
        def test_a():
            names = ("OWN_VARIABLE", "SSH_AUTH_SOCK", "ADDED", "PREPARED")
            assert [os.environ.get(name) for name in names] == ["kept", None, "by ini", "yes"]
            assert pathlib.Path("prepared").exists()
    """)
    assert forked().ret == 0


def test_a_setup_that_fails_ends_the_run(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makeini("[pytest]\nspore_setup = exit 12\n")
    pytester.makepyfile("def test_a(): pass")
    assert forked().ret == 12


def test_ctrl_c_ends_all(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import time
        def test_a():
            print("running", flush=True)
            time.sleep(1000)
    """)
    command = [sys.executable, "-m", "pytest", "-s", "-p", "spore_double", "--spore-fork=1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as popen:
        assert popen.stdout is not None
        while "running" not in popen.stdout.readline():
            assert popen.poll() is None
        popen.send_signal(signal.SIGINT)
        rest, _ = popen.communicate(timeout=60)
    assert popen.returncode == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in rest
