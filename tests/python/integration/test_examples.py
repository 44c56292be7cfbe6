"""The examples, in real machines: what their texts say of them is so."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.nest

_EXAMPLES = Path(__file__).parents[3] / "examples"
_BOUND = 400  # seconds; only a hang gets there


def _run(
    directory: Path, *arguments: str, status: pytest.ExitCode = pytest.ExitCode.TESTS_FAILED
) -> str:
    """What pytest prints; the tests of most examples have some that fail."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *arguments],
        cwd=directory,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_BOUND,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def _outcomes(printed: str) -> dict[str, str]:
    return {
        name: outcome
        for outcome, name in re.findall(r"^(PASSED|FAILED) \S+::(\w+)", printed, re.MULTILINE)
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("crash", "checkpoint", "keep", "flaky"):
        shutil.copytree(_EXAMPLES / name, tmp_path / name)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def test_crashes_ways_and_kept_machines(project: Path, program: str) -> None:
    printed = _run(
        project,
        *("--spore-fork=2", "--spore-timeout=20", "--spore-keep-failed=kept"),
        *("crash", "checkpoint", "keep"),
    )
    assert _outcomes(printed) == {
        "test_before": "PASSED",
        "test_segmentation_fault": "FAILED",
        "test_exit": "FAILED",
        "test_deadlock": "FAILED",
        "test_kernel_panic": "FAILED",
        "test_after": "PASSED",
        "test_repair": "PASSED",
        "test_service_has_no_errors": "FAILED",
        "test_service_is_ready": "PASSED",
    }
    assert "signal 11 (SIGSEGV)" in printed
    assert "pytest ended with status 3" in printed
    assert re.search(r"--spore-timeout=20 passed", printed)
    assert "lock.acquire" in printed or "in test_deadlock" in printed
    assert "panicked" in printed
    command = re.search(r"^spore (run --from \S+) -- sh$", printed, re.MULTILINE)
    assert command is not None, printed
    looked = subprocess.run(
        [program, *command[1].split(), "--", "cat", "/tmp/keep-example/service.log"],
        cwd=project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_BOUND,
    )
    assert looked.stdout == "ready\nerror 17: no such account\n", looked.stderr


@pytest.mark.long
def test_flaky_tests_are_told_from_failing_ones(project: Path) -> None:
    printed = _run(project, "--spore-fork=2", "--spore-repeat=30", "flaky")
    assert (
        "repeated: 30 runs of each test: 1 passed always, 1 failed always, 2 are flaky" in printed
    )


@pytest.mark.long
def test_each_child_has_a_data_base_of_its_own(tmp_path: Path) -> None:
    project = tmp_path / "postgres"
    shutil.copytree(_EXAMPLES / "postgres", project)
    printed = _run(project, "--spore-fork=8", status=pytest.ExitCode.OK)
    assert list(_outcomes(printed).values()) == ["PASSED"] * 8
    assert re.search(r"8 children forked", printed)
