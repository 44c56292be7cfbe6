"""pytest's own options mean the same with forks: the same outcomes in the same order, the same
status, the same JUnit file. With a double of the engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

_SUPPORT = Path(__file__).parent / "support"
_WAYS = {
    **{dist: [f"--spore-dist={dist}"] for dist in ("load", "loadfile", "loadscope", "loadgroup")},
    **{dist: [f"--spore-dist={dist}"] for dist in ("shard", "each")},
    "tree": ["--spore-scope=class"],
    "tree, each": ["--spore-scope=class", "--spore-dist=each"],
}

_FILES = {
    "pytest.ini": """
[pytest]
junit_family = xunit1
markers =
    slow: takes its time
    xdist_group(name): stays together
""",
    "conftest.py": """
import pytest

@pytest.fixture(scope="session")
def base():
    return "base"

@pytest.fixture(scope="module", params=["left", "right"])
def side(request, base):
    return request.param
""",
    "test_a.py": """
import logging, sys, warnings
import pytest

def test_passes(base):
    print("seen")
    logging.getLogger().info("logged")

@pytest.mark.slow
def test_fails():
    print("to stderr", file=sys.stderr)
    assert [1] == [2]

@pytest.mark.parametrize("text", ["plain", "a::b", "\\u00fc\\u2603", "with space"])
def test_ids(text, record_property):
    record_property("text", text)

@pytest.mark.skip(reason="not here")
def test_skipped(): pass

@pytest.mark.xfail(reason="not yet", strict=True)
def test_expected(): assert 0

@pytest.mark.xfail(strict=True)
def test_unexpected(): pass
""",
    "test_b.py": """
import unittest, warnings
import pytest

@pytest.mark.xdist_group("g")
class TestSides:
    @pytest.fixture(scope="class", autouse=True)
    def table(self, base):
        yield

    def test_one(self, side): assert side
    def test_two(self, side): assert side == "left"

@pytest.fixture
def broken():
    raise ValueError("no data")

@pytest.fixture
def leaves():
    yield
    raise RuntimeError("left")

def test_error(broken): pass
def test_teardown_error(leaves): assert 0
def test_warns(): warnings.warn("careful")

class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls): cls.ready = True
    def test_ready(self): self.assertTrue(self.ready)
    def test_case(self): self.assertEqual(1, 1)
    def test_subtests(self):
        with self.subTest(i=1):
            self.assertTrue(True)
    @unittest.expectedFailure
    def test_unittest_expected(self): self.fail()
""",
    "sub/test_c.py": '''
import pytest

def twice(n):
    """
    >>> twice(2)
    4
    """
    return 2 * n

@pytest.mark.slow
@pytest.mark.parametrize("n", range(5))
def test_many(n): assert n != 3
''',
}


@dataclass
class Run:
    status: int
    outcomes: dict[str, int]
    cases: list[object]  # of the JUnit file
    text: str


def _without_times(text: str) -> str:
    return re.sub(r"\d+\.\d+s|0x[0-9a-f]+|/tmp/\S+", "_", text)


def _case(case: ElementTree.Element) -> object:
    parts = [
        (part.tag, sorted(part.attrib.items()), _without_times(part.text or "")) for part in case
    ]
    return case.get("classname"), case.get("name"), parts


def _pytest(folder: Path, arguments: Sequence[str]) -> Run:
    junit = folder / "junit.xml"
    junit.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(_SUPPORT)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:xdist", "--junitxml=junit.xml", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    cases = [_case(case) for case in ElementTree.parse(junit).iter("testcase")]
    outcomes = pytest.RunResult.parse_summary_nouns(done.stdout.splitlines())
    return Run(done.returncode, outcomes, cases, done.stdout + done.stderr)


def _both(tmp_path: Path, runs: Sequence[Sequence[str]], way: str) -> list[tuple[Run, Run]]:
    """Each of `runs`, one after the other, plain and forked, in a copy of the project each."""
    sides = []
    for name, more in (
        ("plain", ()),
        ("forked", ("-p", "spore_double", "--spore-fork=3", *_WAYS[way])),
    ):
        folder = tmp_path / name
        for file, text in _FILES.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, "utf-8")
        sides.append([_pytest(folder, [*more, *arguments]) for arguments in runs])
        shutil.rmtree(folder)
    return list(zip(*sides))


def _expect_same(pairs: Sequence[tuple[Run, Run]]) -> None:
    for plain, forked in pairs:
        assert forked.cases == plain.cases, forked.text
        assert forked.outcomes == plain.outcomes, forked.text
        assert forked.status == plain.status, forked.text


@pytest.mark.parametrize("way", _WAYS)
def test_every_distribution(tmp_path: Path, way: str) -> None:
    pairs = _both(tmp_path, [["--doctest-modules"]], way)
    _expect_same(pairs)
    assert pairs[0][0].outcomes["failed"] == 5


@pytest.mark.parametrize("way", ["load", "each", "tree"])
@pytest.mark.parametrize(
    "runs",
    [
        [["-x"]],
        [["--maxfail=3"]],
        [["--maxfail=100"]],
        [[], ["--lf"], ["--lf", "--lfnf=none"]],
        [["-x"], ["--ff"], ["--nf"]],
        [["--sw"], ["--sw"], ["--sw", "--sw-skip"]],
        [["--sw"], ["--sw", "test_a.py"], ["--sw"]],
        [["test_a.py"], ["--nf", "-v"], ["--nf"]],
        [["-k", "many or ids", "-v"]],
        [["-m", "slow", "-q"]],
        [["--deselect", "test_a.py::test_fails", "--deselect=test_b.py"]],
        [["test_b.py", "sub/test_c.py::test_many[3]"]],
        [["--tb=short", "-rA", "-s"]],
        [["--log-cli-level=INFO", "--show-capture=no"]],
        [["--runxfail"], ["-W", "error"]],
        [["-p", "no:cacheprovider", "-p", "no:logging", "-p", "no:doctest"]],
        [["-k", "nothing at all"]],
    ],
    ids=lambda runs: " then ".join(" ".join(arguments) or "all" for arguments in runs),
)
def test_options(tmp_path: Path, runs: list[list[str]], way: str) -> None:
    _expect_same(_both(tmp_path, runs, way))
