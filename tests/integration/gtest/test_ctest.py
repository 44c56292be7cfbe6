"""CTest with the entries of spore_discover_tests(): one machine for all tests of a program."""

import os
import pathlib
import subprocess

import pytest
from outside_project import EVERYTHING, Report, check_outcomes

# test_debian_package.py does the same with what apt has installed.
pytestmark = [pytest.mark.nest, pytest.mark.long]

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

    def ctest(*words: str) -> tuple[int, str, Report]:
        path = tmp_path / "report.xml"
        done = run("ctest", "--test-dir", build, "-j2", "--timeout", "300", *EVERYTHING,
                   "--output-on-failure", "--output-junit", path, *words, env=env)  # fmt: skip
        return done.returncode, done.stdout, Report(path)

    status, said, report = ctest()
    assert status != 0, said
    check_outcomes(report, said)
    fixture, plain = report.machines("fixture."), report.machines("Plain.")

    # What was kept is there for the next run.
    status, said, again = ctest("-R", r"IsTheOnlyOne|Plain\.RunsAlone")
    assert status == 0, said
    assert again.machines("fixture.").items() <= fixture.items(), said
    assert again.machines("Plain.").items() <= plain.items(), said
    assert len(again.cases) == 4, said
