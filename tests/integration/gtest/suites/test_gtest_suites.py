"""GoogleTest suites that others wrote: every test ends in forks as it ends on the host."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

import pytest

pytestmark = [pytest.mark.nest, pytest.mark.long]

_BOUND = 1800  # seconds for one run; only a hang gets there
_MODES = ("load", "shard", "each")
_GOOGLETEST = Path("/usr/src/googletest")

# Was a test run, what does the report call its end, and how many failures it has.
Outcome = tuple[str, str, int]
_DIED: Outcome = ("run", "completed", 1)

_PROJECTS = {
    "snappy": ["snappy_unittest"],
    "benchmark": ["benchmark_gtest", "perf_counters_gtest"],
    # Threads, files, descriptors, a program that starts itself by its own name.
    "leveldb": [
        *("cache_test", "corruption_test", "env_posix_test", "env_test", "recovery_test"),
        "skiplist_test",
    ],
    # Death tests, and a standard output that is another file for a time.
    "fmtlib": ["assert-test", "gtest-extra-test", "os-test"],
}
# What a program reads in its working directory.
_READS = {"snappy": "testdata"}
# Three seconds of the host are minutes of an emulator.
_LEFT_OUT = {"snappy_unittest": "Snappy.RandomData"}

# Programs that run as one whole, in one machine: with --gtest_list_tests their main() fails, so
# that no runner can give out their tests.
_WHOLE = {
    "gtest_environment_test": "main() runs all tests four times and aborts unless they ran",
    "gtest_repeat_test": "main() runs all tests with one --gtest_repeat after another and counts",
    "googletest-listener-test": "main() fails unless two iterations of all tests made its events",
    "gtest_stress_test": "main() aborts unless a test failed",
    "gmock_stress_test": "main() aborts unless a test failed",
}
# GoogleTest reports what fails outside of all tests as of one without a name.
_OUTSIDE = "."
# Tests that are not on their own: they end otherwise on the host too, where others do not run
# before them in the same process and the same directory.
_NOT_ALONE = {
    # The directory that it writes to is made by the test before it.
    "googletest-filepath-test": r"DirectoryCreationTest\.CreateDirectoriesFail",
    # A static variable says which of these ran last; and that all of them are chosen.
    "googletest-param-test-test": r"\.SeesSequence/|/TestGenerationTest\.",
    # Count the tests that are chosen to run; a global environment aborts when not all are.
    "gtest-unittest-api_test": r"^ApiTest\..*AccessorsWork",
    # The file that they open is made by a test of another suite.
    "os-test": r"file_test\.(read|write)_error",
}


def _own_programs() -> list[str]:
    """The test programs of GoogleTest that are all C++: Python drives the others from outside."""
    files = [_GOOGLETEST / part / "CMakeLists.txt" for part in ("googletest", "googlemock")]
    text = "".join(file.read_text() for file in files if file.exists())
    return re.findall(r"^ *cxx_test(?:_with_flags)?\((\S+)", text, re.MULTILINE)


class _Suite:
    """One program of a project, to be run again and again, always in a new directory."""

    def __init__(self, builds, project: str, name: str, environment, scratch: Path) -> None:
        self.name = name
        self.program = str(builds.program(project, name))
        self._reads = builds.source(project) / _READS[project] if project in _READS else None
        self._environment: Mapping[str, str] = environment
        self._scratch = scratch

    def run(self, *command: str, test: str | None = None) -> tuple[int, dict[str, Outcome], str]:
        """The exit status, the outcome of every test, and what was printed."""
        directory = self._scratch / str(len(list(self._scratch.iterdir())))
        directory.mkdir()
        if self._reads is not None:
            shutil.copytree(self._reads, directory / self._reads.name)
        environment = {**self._environment}
        if not command:
            environment["TEST_TMPDIR"] = str(directory)
        words = [f"--data={directory}"] if command else []
        report = self._scratch / f"{directory.name}.xml"
        flags = [f"--gtest_output=xml:{report}"]
        if test is not None:
            flags.append(f"--gtest_filter={test}")
        elif self.name in _LEFT_OUT:
            flags.append(f"--gtest_filter=-{_LEFT_OUT[self.name]}")
        done = subprocess.run(
            [*command, *words, self.program, *flags],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_BOUND,
        )
        return done.returncode, _outcomes(report), done.stdout

    def alone(self, test: str) -> Outcome:
        """How the host ends `test` when no other is run with it."""
        _, outcomes, _ = self.run(test=test)
        return outcomes.get(test, _DIED)


def _outcomes(report: Path) -> dict[str, Outcome]:
    # Not of JSON: what GoogleTest 1.12 writes of a failure outside of all tests is none.
    outcomes: dict[str, Outcome] = {}
    for test in ElementTree.parse(report).iter("testcase") if report.exists() else []:
        name = f"{test.get('classname')}.{test.get('name')}"
        failures = len(test.findall("failure"))
        if name == _OUTSIDE and name in outcomes:  # children may fail in different words
            failures += outcomes.pop(name)[2]
        assert name not in outcomes, f"{report} has {name} twice"
        outcomes[name] = (test.get("status", ""), test.get("result", ""), failures)
    return outcomes


def _kind(outcome: Outcome) -> tuple[str, str, bool]:
    status, result, failures = outcome
    return status, result, failures > 0


def _compare(suite: _Suite, spore_test: list[str], mode: str) -> None:
    status, plain, _ = suite.run()
    forked_status, forked, printed = suite.run(*spore_test, "--jobs=2", f"--spore-dist={mode}")
    assert (suite.name in _WHOLE) == ("all run in one machine" in printed), printed
    pattern = _NOT_ALONE.get(suite.name)
    tests = [test for test in plain if pattern and re.search(pattern, test)]
    assert forked.keys() >= set(tests), printed
    for test in tests:
        assert _kind(forked[test]) in (_kind(plain[test]), _kind(suite.alone(test))), printed
        plain[test] = forked[test]
    if tests:  # what they leave to their suite or to a global environment may fail there
        forked.pop(_OUTSIDE, None)
    assert forked == plain, printed
    assert forked_status == status or (tests and forked_status == 1), printed


# docs/gtest-runner.md has a table of what these runs show.
@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("name", _own_programs())
def test_a_program_of_googletest_itself(builds, spore_test, tmp_path, name, mode) -> None:
    suite = _Suite(builds, "googletest", name, spore_test.env, tmp_path)
    _compare(suite, [str(spore_test.programs / "spore-test")], mode)


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize(
    ("project", "name"), [(project, name) for project, names in _PROJECTS.items() for name in names]
)
def test_a_program_of_a_debian_package(builds, spore_test, tmp_path, project, name, mode) -> None:
    suite = _Suite(builds, project, name, spore_test.env, tmp_path)
    _compare(suite, [str(spore_test.programs / "spore-test")], mode)
