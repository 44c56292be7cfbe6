"""Ini values that say what the machine is made of, with a double of the engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def booted(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the double writes what its machine was made of."""
    monkeypatch.setenv("SPORE_DOUBLE_BOOT", str(pytester.path / "boot.json"))
    pytester.makepyfile("def test_a(): pass")
    return pytester.path / "boot.json"


@pytest.mark.parametrize(
    ("lines", "arguments", "memory", "cpus"),
    [
        ("", (), 1 << 30, 1),
        ("spore_memory = 512M\nspore_cpus = 2", (), 512 << 20, 2),
        (
            "spore_memory = 512M\nspore_cpus = 2",
            ("--spore-memory=2G", "--spore-cpus=1"),
            2 << 30,
            1,
        ),
        (
            "spore_memory = bad\nspore_cpus = bad",
            ("--spore-memory=2G", "--spore-cpus=1"),
            2 << 30,
            1,
        ),
    ],
    ids=["defaults", "ini", "options win", "what is not used need not be right"],
)
def test_memory_and_cpus(
    pytester: pytest.Pytester,
    forked: Run,
    booted: Path,
    lines: str,
    arguments: tuple[str, ...],
    memory: int,
    cpus: int,
) -> None:
    pytester.makeini(f"[pytest]\naddopts = -p no:xdist\n{lines}\n")
    assert forked(*arguments).ret == 0
    machine = json.loads(booted.read_text())
    assert (machine["memory"], machine["cpus"]) == (memory, cpus)


def test_a_number_in_pyproject(pytester: pytest.Pytester, forked: Run, booted: Path) -> None:
    (pytester.path / "tox.ini").unlink()
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nspore_cpus = 3\n")
    assert forked("-p", "no:xdist").ret == 0
    assert json.loads(booted.read_text())["cpus"] == 3


def test_the_help_names_the_ini_values(pytester: pytest.Pytester) -> None:
    shown = " ".join(pytester.runpytest_subprocess("--help").stdout.str().split())
    for name in ("spore_memory", "spore_cpus"):
        assert f"the ini value {name}" in shown
        assert f"{name} (string):" in shown
