"""GoogleTest suites that others wrote: every test ends in forks as it ends on the host."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

pytestmark = [pytest.mark.nest, pytest.mark.long]

_BOUND = 1800  # seconds for one run; only a hang gets there
_CHILDREN = 2
_MODES = ("load", "shard", "each")
_GOOGLETEST = Path("/usr/src/googletest")

# Was a test run, what does the report call its end, and how many failures it has.
Outcome = tuple[str, str, int]
_DIED: Outcome = ("RUN", "COMPLETED", 1)

_PROJECTS = {
    "snappy": ["snappy_unittest"],
    "benchmark": [
        *("benchmark_gtest", "benchmark_name_gtest", "benchmark_random_interleaving_gtest"),
        *("commandlineflags_gtest", "perf_counters_gtest", "statistics_gtest"),
        *("string_util_gtest", "time_unit_gtest"),
    ],
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
# Seconds of the host are minutes of an emulator: a hundred thousand blocks of random data.
_LEFT_OUT = {"snappy_unittest": "Snappy.RandomData"}

# Programs that run as one whole: main() itself is the test, and with --gtest_list_tests it fails.
_WHOLE = {
    "gtest_environment_test": "main() runs all tests four times and aborts unless they ran",
    "gtest_repeat_test": "main() runs all tests with one --gtest_repeat after another and counts",
    "googletest-listener-test": "main() fails unless two iterations of all tests made its events",
}
# Tests that end otherwise on the host too, where they run apart from others of their program.
_APART = {}


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

    def run(
        self, *command: str, test: str | None = None, shard: int | None = None
    ) -> tuple[int, dict[str, Outcome], str]:
        """The exit status, the outcome of every test, and what was printed."""
        directory = self._scratch / str(len(list(self._scratch.iterdir())))
        directory.mkdir()
        if self._reads is not None:
            shutil.copytree(self._reads, directory / self._reads.name)
        environment = {**self._environment}
        if not command:
            environment["TEST_TMPDIR"] = str(directory)
        if shard is not None:
            environment["GTEST_TOTAL_SHARDS"] = str(_CHILDREN)
            environment["GTEST_SHARD_INDEX"] = str(shard)
        words = [f"--data={directory}"] if command else []
        report = self._scratch / f"{directory.name}.json"
        flags = [f"--gtest_output=json:{report}"]
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

    def apart(self, mode: str, tests: list[str]) -> tuple[int, dict[str, Outcome]]:
        """How the host ends `tests`, where it starts the program as often as spore-test does."""
        status = 0
        outcomes: dict[str, Outcome] = {}
        if mode == "shard":
            for shard in range(_CHILDREN):
                shard_status, ended, _ = self.run(shard=shard)
                status |= shard_status != 0
                outcomes.update(ended)
        else:
            for test in tests:
                test_status, ended, _ = self.run(test=test)
                status |= test_status != 0
                outcomes[test] = ended.get(test, _DIED)
        return status, {test: outcomes.get(test, _DIED) for test in tests}


def _outcomes(report: Path) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    for suite in json.loads(report.read_text())["testsuites"] if report.exists() else []:
        for test in suite["testsuite"]:
            name = f"{test['classname']}.{test['name']}"
            assert name not in outcomes, f"{report} has {name} twice"
            outcomes[name] = (test["status"], test["result"], len(test.get("failures", [])))
    return outcomes


def _compare(suite: _Suite, spore_test: list[str], mode: str) -> None:
    status, plain, _ = suite.run()
    forked_status, forked, printed = suite.run(
        *spore_test, f"--jobs={_CHILDREN}", f"--spore-dist={mode}"
    )
    if suite.name in _WHOLE:
        assert forked_status == 125, printed
        assert "spore-test: listing the tests of" in printed
        return
    statuses = {status}
    pattern = _APART.get(suite.name, {}).get("tests")
    tests = [test for test in plain if pattern and re.search(pattern, test)]
    if tests:
        assert forked.keys() == plain.keys(), printed
        apart_status, apart = suite.apart(mode, tests)
        if mode == "load":  # which tests come together is a matter of luck
            apart = {t: forked[t] if forked[t] == apart[t] else plain[t] for t in tests}
            statuses.add(apart_status)
        else:
            statuses = {int(status != 0 or apart_status != 0)}
        plain.update(apart)
    assert forked == plain, printed
    assert forked_status in statuses, printed


# docs/gtest-runner.md has a table of what these runs show.
@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize("name", _own_programs())
def test_a_program_of_googletest_itself(builds, spore_test, tmp_path, name, mode) -> None:
    suite = _Suite(builds, "googletest", name, spore_test.environment, tmp_path)
    _compare(suite, spore_test.command, mode)


@pytest.mark.parametrize("mode", _MODES)
@pytest.mark.parametrize(
    ("project", "name"), [(project, name) for project, names in _PROJECTS.items() for name in names]
)
def test_a_program_of_a_debian_package(builds, spore_test, tmp_path, project, name, mode) -> None:
    suite = _Suite(builds, project, name, spore_test.environment, tmp_path)
    _compare(suite, spore_test.command, mode)
