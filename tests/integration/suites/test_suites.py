"""Suites that others wrote: every test ends in forked machines as it ends on the host."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.nest

_BOUND = 1800  # seconds for one run; only a hang gets there
_FOLDER = Path(__file__).parent
_ROOT = _FOLDER.parents[2]
_SDISTS = _FOLDER / "sdists.txt"
_REQUIREMENTS = _FOLDER / "requirements.txt"
_LOAD: Sequence[str] = ()
_EACH = ("--spore-dist=each",)
_TREE = ("--spore-scope=class",)
_WAYS = {"load": _LOAD, "each": _EACH, "tree": _TREE}
_IN_CI = ("toolz", 150, "tree")
# Gives a thread 10 ms to stop, in which a machine that shares its CPU may not have run at all.
_LEFT_OUT = {"sqlitedict": ["tests/test_core.py::SqliteMiscTest::test_cancel_iterate"]}
_STANDARD_TESTS = Path(sysconfig.get_path("stdlib"), "test")


def _outcomes(report: Path) -> dict[str, list[str]]:
    """What became of each test; one that fails and whose teardown fails too has two entries."""
    outcomes: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        outcomes.setdefault(name, []).extend(kinds or ["passed"])
    return {name: sorted(kinds) for name, kinds in outcomes.items()}


def _run(
    python: Path, directory: Path, report: Path, *arguments: str
) -> tuple[int, dict[str, list[str]], str]:
    """The exit status of pytest in `directory`, the outcome of every test, and what it printed."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTEST_ADDOPTS" and not name.startswith("SPORE_PYTEST")
    }
    without = ("-p", "no:cacheprovider", "-p", "no:randomly", "--tb=no")
    done = subprocess.run(
        [python, "-m", "pytest", *without, f"--junitxml={report}", *arguments],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_BOUND,
    )
    assert report.exists(), f"pytest wrote no report:\n{done.stdout}"
    return done.returncode, _outcomes(report), done.stdout


def _compare(
    directory: Path,
    reports: Path,
    at_least: int,
    way: Sequence[str],
    *arguments: str,
    python: Path = Path(sys.executable),
) -> None:
    status, plain, printed = _run(python, directory, reports / "plain.xml", *arguments)
    assert len(plain) >= at_least, f"too few tests to compare:\n{printed}"
    forked_status, forked, printed = _run(
        python, directory, reports / "forked.xml", "--spore-fork=4", *way, *arguments
    )
    assert forked == plain, printed
    assert forked_status == status, printed
    forks = re.search(r"^forked:.*\b(\d+) children\b", printed, re.MULTILINE)
    assert forks is not None, printed
    # A child that sets up a fixture point lets others wait, who are forked then.
    assert int(forks[1]) >= 4 if "--spore-scope=class" in way else int(forks[1]) == 4, printed


# test_heapq also has tests that fail under pytest: its mixins are no test cases on their own.
@pytest.mark.parametrize(
    ("module", "at_least", "way"),
    [
        pytest.param("test_heapq", 50, _TREE, marks=pytest.mark.long),
        pytest.param("test_textwrap", 50, _EACH, marks=pytest.mark.long),
    ],
)
def test_a_module_of_python_itself(
    tmp_path: Path, module: str, at_least: int, way: Sequence[str]
) -> None:
    path = _STANDARD_TESTS / f"{module}.py"
    if not path.exists():
        pytest.skip(f"{path} is not installed; ./dev setup installs the package that holds it")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    _compare(tmp_path, tmp_path, at_least, way, f"--config-file={tmp_path}/pytest.ini", str(path))


def _cache_directory() -> Path:
    base = os.environ.get("SPORE_CACHE_DIR") or Path(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "spore"
    )
    return Path(base)


def _source(project: str) -> Path:
    """The pinned source distribution of `project`, from the cache or else through pip."""
    requirement = re.search(
        rf"^{project}==(\S+) --hash=sha256:([0-9a-f]{{64}})$", _SDISTS.read_text(), re.MULTILINE
    )
    assert requirement, f"{_SDISTS} does not pin {project}"
    version, digest = requirement.groups()
    archive = _cache_directory() / "sdists" / f"{project.replace('-', '_')}-{version}.tar.gz"
    if not _has_digest(archive, digest):
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.unlink(missing_ok=True)
        only_this = archive.with_suffix(".txt")
        only_this.write_text(requirement[0] + "\n")
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q"),
                *("--no-deps", "--no-binary=:all:", "--require-hashes"),
                *("-d", archive.parent, "-r", only_this),
            ],
            check=True,
            timeout=_BOUND,
        )
        assert _has_digest(archive, digest), f"pip did not bring {archive}"
    return archive


def _has_digest(archive: Path, digest: str) -> bool:
    return archive.exists() and hashlib.sha256(archive.read_bytes()).hexdigest() == digest


# docs/pytest-plugin.md has a table of what these runs show, and of those below.
@pytest.mark.parametrize(
    ("project", "at_least", "way"),
    [
        pytest.param(*project, way, marks=[] if (*project, way) == _IN_CI else pytest.mark.long)
        for project in [("six", 150), ("toolz", 150)]
        for way in _WAYS
    ],
)
def test_a_project_from_its_source_distribution(
    tmp_path: Path, project: str, at_least: int, way: str
) -> None:
    archive = _source(project)
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path)
    _compare(tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path, at_least, _WAYS[way])


@pytest.fixture(scope="session")
def python_with_requirements() -> Path:
    """An interpreter with what the suites below need, and with this Spore's plugin."""
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes() + sys.executable.encode()).hexdigest()
    # Not in the cache, which no image holds.
    directory = _ROOT / "build" / f"suites-{digest[:16]}"
    python = directory / "bin/python"
    if not (directory / "whole").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*pip, "-r", _REQUIREMENTS], check=True, timeout=_BOUND)
        (directory / "whole").touch()
    install = [python, _ROOT / "python/dev_install.py", _ROOT / "build/python"]
    subprocess.run(install, check=True)
    return python


@pytest.mark.long
@pytest.mark.parametrize("way", list(_WAYS))
@pytest.mark.parametrize(
    ("project", "at_least", "sources", "folder"),
    [
        ("pyproject-hooks", 42, "src", None),  # subprocesses
        ("cachetools", 465, "src", None),  # threads
        ("sqlitedict", 88, ".", "tests/db"),  # a data base, threads
    ],
)
def test_a_project_with_requirements(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    python_with_requirements: Path,
    project: str,
    at_least: int,
    sources: str,
    folder: str | None,
    way: str,
) -> None:
    archive = _source(project)
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path)
    directory = tmp_path / archive.name.removesuffix(".tar.gz")
    monkeypatch.setenv("PYTHONPATH", str(directory / sources))
    if folder is not None:
        (directory / folder).mkdir()  # as the project's Makefile does
    python = python_with_requirements
    left_out = [f"--deselect={test}" for test in _LEFT_OUT.get(project, [])]
    _compare(directory, tmp_path, at_least, _WAYS[way], *left_out, python=python)
