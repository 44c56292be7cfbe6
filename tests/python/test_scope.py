"""--spore-scope: fixture points of packages, modules and classes, with a double of the engine."""

from __future__ import annotations

import collections
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest

Run = Callable[..., pytest.RunResult]

_DISTS = ["load", "loadfile", "loadscope", "loadgroup", "shard", "each"]

_CONFTEST = """
    import pathlib
    import pytest

    log = pathlib.Path(__file__).with_name("log")

    def note(text):
        with log.open("a") as file:  # the machines of the double share the host's files
            file.write(text + "\\n")

    @pytest.fixture(scope="session")
    def world():
        note("world up")
        yield []
        note("world down")

    @pytest.fixture(scope="module")
    def service(request, world):
        name = request.module.__name__.rpartition(".")[2]
        note(f"{name} up")
        yield [name]
        note(f"{name} down")

    @pytest.fixture(scope="class")
    def table(request, service):
        note(f"{request.cls.__name__} up")
        yield [request.cls.__name__]
        note(f"{request.cls.__name__} down")
"""

_TESTS = """
    import unittest
    import pytest

    @pytest.mark.parametrize("number", range(5))
    def test_function(number, service):
        assert service == [__name__.rpartition(".")[2]]

    class TestGroup:
        def test_a(self, table): assert table == ["TestGroup"]
        def test_b(self, table): assert table == ["TestGroup"]
        def test_c(self): pass

    class Case(unittest.TestCase):
        ready = 0
        @classmethod
        def setUpClass(cls): cls.ready = 1
        @classmethod
        def tearDownClass(cls): assert cls.ready == 1
        def test_one(self): assert self.ready == 1
        def test_two(self): assert self.ready == 1
"""


def _project(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(_CONFTEST)
    pytester.makepyfile(test_alpha=_TESTS, test_beta=_TESTS, test_plain="def test_p(): pass")


def _log(pytester: pytest.Pytester) -> collections.Counter[str]:
    return collections.Counter((pytester.path / "log").read_text().splitlines())


@pytest.mark.parametrize("dist", _DISTS)
@pytest.mark.parametrize("scope", ["package", "module", "class"])
def test_fixtures_are_set_up_and_torn_down_once_in_the_whole_run(
    pytester: pytest.Pytester, forked: Run, dist: str, scope: str
) -> None:
    _project(pytester)
    result = forked(f"--spore-scope={scope}", f"--spore-dist={dist}")
    result.assert_outcomes(passed=21)
    log = _log(pytester)
    assert log["world up"] == 1
    for module in ("test_alpha", "test_beta"):
        if scope != "package":
            assert log[f"{module} up"] == log[f"{module} down"] == 1
    if scope == "class":
        assert log["TestGroup up"] == log["TestGroup down"] == 2


def test_the_points_are_told_at_the_end(pytester: pytest.Pytester, forked: Run) -> None:
    _project(pytester)
    result = forked("--spore-scope=class")
    # Two modules, and two classes in each.
    result.stdout.fnmatch_lines(["points: *6 fixture points below the session's set up in *"])
    assert "points:" not in forked().stdout.str()


def test_tests_start_where_their_module_is_set_up(pytester: pytest.Pytester, forked: Run) -> None:
    module = """
        import pytest
        state = []

        @pytest.fixture(scope="module", autouse=True)
        def ready():
            state.append("ready")

        @pytest.mark.parametrize("number", range(4))
        def test_a(number):
            assert state == ["ready"]
            state.append(number)
    """
    pytester.makepyfile(test_one=module, test_two=module)
    forked("--spore-scope=module", "--spore-dist=each").assert_outcomes(passed=8)


def test_a_package_is_set_up_before_its_modules(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makeconftest(_CONFTEST)
    package = pytester.mkpydir("inner")
    (package / "conftest.py").write_text(
        "import pytest\n"
        "from conftest import note\n"
        "@pytest.fixture(scope='package', autouse=True)\n"
        "def package():\n"
        "    note('package up')\n"
        "    yield\n"
        "    note('package down')\n"
    )
    for name in ("test_one.py", "test_two.py"):
        (package / name).write_text("def test_a(service): pass\ndef test_b(service): pass\n")
    pytester.makepyfile("def test_outside(): pass")
    result = forked("--spore-scope=module", "-p", "no:randomly")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["points: *3 fixture points below *: inner*, inner/test_*"])
    log = _log(pytester)
    assert log == dict.fromkeys(
        [
            *("world up", "world down", "package up", "package down"),
            *("test_one up", "test_one down", "test_two up", "test_two down"),
        ],
        1,
    )


def _cases(pytester: pytest.Pytester) -> dict[tuple[str, str], str]:
    """What JUnit XML says of each test."""
    root = ElementTree.parse(pytester.path / "junit.xml").getroot()
    return {
        (case.get("classname", ""), case.get("name", "")): ElementTree.tostring(
            ElementTree.Element("case"), encoding="unicode"
        )
        + "".join(f"{child.tag} {child.get('message')}" for child in case)
        for case in root.iter("testcase")
    }


@pytest.mark.parametrize("dist", ["load", "each"])
def test_fixtures_that_fail_or_skip_do_so_in_each_test_that_needs_them(
    pytester: pytest.Pytester, forked: Run, dist: str
) -> None:
    pytester.makepyfile(
        test_fails="""
            import pytest
            @pytest.fixture(scope="module")
            def broken(): raise RuntimeError("no server")
            def test_a(broken): pass
            def test_b(broken): pass
            def test_c(): pass
        """,
        test_skips="""
            import pytest
            @pytest.fixture(scope="class", autouse=True)
            def missing(): pytest.skip("no such thing here")
            class Test:
                def test_a(self): pass
                def test_b(self): pass
        """,
        test_ends_badly="""
            import pytest
            @pytest.fixture(scope="module")
            def bad():
                yield
                assert 0, "cannot be torn down"
            def test_a(bad): pass
            def test_b(bad): pass
        """,
        test_unready="""
            def setup_module(): raise OSError("never ready")
            def test_a(): pass
        """,
    )
    forked("--junitxml=junit.xml", "--spore-scope=class", f"--spore-dist={dist}").assert_outcomes(
        passed=3, skipped=2, errors=4
    )
    with_forks = _cases(pytester)
    pytester.runpytest_subprocess("-p", "no:spore", "--junitxml=junit.xml")
    assert with_forks == _cases(pytester)


def test_a_fixture_that_ends_its_machine_is_left_to_the_tests(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile(
        test_bad="""
            import os
            import pytest
            @pytest.fixture(scope="module")
            def crashes(): os._exit(3)
            def test_a(crashes): pass
            def test_b(): pass
        """,
        test_good="""
            import pytest
            @pytest.fixture(scope="module")
            def works(): pass
            @pytest.mark.parametrize("number", range(9))
            def test_a(number, works): pass
        """,
    )
    result = forked("--spore-scope=module")
    result.assert_outcomes(passed=10, failed=1)
    result.stdout.fnmatch_lines(
        ["spore: the fixtures of test_bad.py cannot be set up once for all its tests: *"]
    )


def test_a_fixture_that_hangs_is_ended(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import time
        import pytest
        @pytest.fixture(scope="module")
        def hangs(): time.sleep(600)
        def test_a(hangs): pass
        def test_b(): pass
    """)
    result = forked("--spore-scope=module", "--spore-timeout=2")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*while this test ran, --spore-timeout=2 passed*"])


def test_a_fixture_that_stops_pytest_stops_it(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(
        test_a="def test_first(): pass",
        test_b="""
            import pytest
            @pytest.fixture(scope="module")
            def over(): pytest.exit("enough", returncode=7)
            def test_exits(over): pass
        """,
        test_c="def test_last(): pass",
    )
    result = forked("--spore-scope=module")
    assert result.ret == 7
    result.assert_outcomes(passed=1)


def test_parametrised_fixtures_are_set_up_by_the_tests(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile("""
        import pytest
        @pytest.fixture(scope="module", params=["a", "b"])
        def letter(request): return request.param
        @pytest.fixture(scope="module")
        def upper(letter): return letter.upper()
        def test_letter(letter, upper): assert upper == letter.upper()
        def test_other(letter): pass
    """)
    result = forked("--spore-scope=module")
    result.assert_outcomes(passed=4)
    assert "points:" not in result.stdout.str()


@pytest.mark.parametrize("scope", ["session", "module"])
def test_teardown_may_be_skipped(pytester: pytest.Pytester, forked: Run, scope: str) -> None:
    _project(pytester)
    (pytester.path / "test_plain.py").write_text(
        "import pytest\n"
        "from conftest import note\n"
        "@pytest.fixture\n"
        "def small():\n"
        "    yield\n"
        "    note('small down')\n"
        "@pytest.mark.parametrize('number', range(3))\n"
        "def test_p(small, number): pass\n"
    )
    result = forked("--spore-teardown=skip", f"--spore-scope={scope}")
    result.assert_outcomes(passed=23)
    log = _log(pytester)
    assert log["small down"] == 3
    assert log["world down"] == 0
    if scope == "module":
        assert not log["test_alpha down"] + log["test_beta down"]


def test_a_run_that_stops_early_stops_where_it_does_without_forks(
    pytester: pytest.Pytester, forked: Run
) -> None:
    module = """
        import pytest
        @pytest.fixture(scope="module", autouse=True)
        def ready(): pass
        @pytest.mark.parametrize("number", range(6))
        def test_a(number): assert number != 3
    """
    pytester.makepyfile(**{f"test_{letter}": module for letter in "abcd"})
    result = forked("--spore-scope=module", "--maxfail=2")
    result.assert_outcomes(passed=6 + 2, failed=2)


def test_repeated_tests_start_at_the_point_of_their_module(
    pytester: pytest.Pytester, forked: Run
) -> None:
    _project(pytester)
    forked("--spore-scope=module", "--spore-repeat=3").assert_outcomes(passed=21)
    assert _log(pytester)["test_alpha up"] == 1
