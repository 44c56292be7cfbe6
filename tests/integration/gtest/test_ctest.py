"""CTest with the entries of spore_discover_tests(): one machine for all tests of a program."""

import os
import pathlib
import re
import subprocess
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.nest

ROOT = pathlib.Path(__file__).parents[3]
OUTSIDE = ROOT / "tests/packaging/outside"
BOUND = 600  # seconds for one command; only a hang gets there


def run(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(word) for word in words],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BOUND,
    )


class Report:
    """What CTest wrote of a run: status and output of each entry, by name."""

    def __init__(self, path: pathlib.Path) -> None:
        self.cases = {}
        for case in ElementTree.parse(path).iter("testcase"):
            self.cases[case.attrib["name"]] = (case.attrib["status"], case.findtext("system-out"))

    def names(self, status: str) -> set[str]:
        return {name for name, (found, _) in self.cases.items() if found == status}

    def machines(self, prefix: str) -> dict[str, str]:
        """Which machine each test says that it comes from."""
        said = {
            name: re.findall(r"^machine of (\d+)$", output, re.MULTILINE)
            for name, (_, output) in self.cases.items()
            if name.startswith(prefix)
        }
        assert all(len(found) <= 1 for found in said.values()), said
        return {name: found[0] for name, found in said.items() if found}


def test_ctest_runs_each_test_in_a_fork_of_one_machine(spore_test, tmp_path):
    prefix, build = tmp_path / "prefix", tmp_path / "build"
    for command in (
        ("cmake", "--install", spore_test.programs.parent, "--prefix", prefix),
        ("cmake", "-S", OUTSIDE, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}"),
        ("cmake", "--build", build),
    ):
        done = run(*command)
        assert done.returncode == 0, done.stdout
    # The installed programs find each other, and machines are kept.
    env = {
        name: value
        for name, value in {**os.environ, **spore_test.env}.items()
        if name not in ("SPORE_BIN", "SPORE_KEPT_LIMIT")
    }
    everything = ("--test-output-size-passed", "100000", "--test-output-size-failed", "100000")

    def ctest(*words: str) -> tuple[int, str, Report]:
        path = tmp_path / "report.xml"
        done = run("ctest", "--test-dir", build, "-j2", "--timeout", "300", *everything,
                   "--output-on-failure", "--output-junit", path, *words, env=env)  # fmt: skip
        return done.returncode, done.stdout, Report(path)

    status, said, report = ctest()
    assert status != 0, said
    assert report.names("fail") == {"fixture.Machine.Fails.forked"}, said
    assert report.names("notrun") == {"fixture.Machine.SkipsWhatItCannot.forked"}, said
    assert report.names("disabled") == {
        "fixture.Machine.Fails#2.forked",
        "fixture.Off.Fails.forked",
    }
    assert len(report.names("run")) == len(report.cases) - 4 == 18, said
    assert "index 0 of 1" in report.cases["fixture.Machine.IsTheOnlyOne.forked"][1]
    # Every test says what its machine drew when it was set up: the same in all of a program.
    fixture, plain = report.machines("fixture."), report.machines("Plain.")
    assert len(fixture) == 16, said
    assert len(set(fixture.values())) == 1, fixture
    assert len(plain) == 2, said
    assert len(set(plain.values())) == 1, plain

    # What was kept is there for the next run.
    status, said, again = ctest("-R", r"IsTheOnlyOne|Plain\.RunsAlone")
    assert status == 0, said
    assert again.machines("fixture.").items() <= fixture.items(), said
    assert again.machines("Plain.").items() <= plain.items(), said
    assert len(again.cases) == 4, said
