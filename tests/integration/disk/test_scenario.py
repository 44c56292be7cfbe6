"""A spore's life: captured, forked, run, packed, and gone on from on another machine."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.nest

_TIMED_OUT = 124

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def elsewhere(command: Command, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of another machine: nothing of this one's caches, and a nest of its own."""
    environment = {"SPORE_NEST_MEMORY": "2G"}
    for name in ("SPORE_CACHE_DIR", "SPORE_RUNTIME_DIR"):
        folder = tmp_path / name.lower()
        folder.mkdir(mode=0o700)
        environment[name] = str(folder)
    yield environment
    command("nest", "stop", env=environment)


def test_from_capture_to_another_machine(
    program: str,
    command: Command,
    answer: Callable[..., Any],
    warm: Path,
    tmp_path: Path,
    elsewhere: dict[str, str],
) -> None:
    spores = tmp_path / "spores"
    shutil.copytree(warm, spores / "warm")
    forked = answer("fork", spores / "warm", "--count", "3", "--out", spores / "children")
    assert len(forked["children"]) == 3

    ran = answer("fanout", spores / "children", "--parallel", "--for", "10s")
    assert [child["ended"] for child in ran["children"]] == ["timed out"] * 3

    children = sorted((spores / "children").iterdir())
    packed = answer("pack", spores / "warm", *children, "-o", tmp_path / "bundle")
    streamed = subprocess.run(
        [program, "pack", spores / "warm", *children], capture_output=True, check=True
    )
    assert streamed.stdout == (tmp_path / "bundle").read_bytes()  # the same spores, the same bytes
    shutil.rmtree(spores)

    there = tmp_path / "there"
    unpacked = answer(
        *("unpack", tmp_path / "bundle", there, "--digest", packed["digest"]), env=elsewhere
    )
    assert unpacked["digest"] == packed["digest"]
    # The images come with the bundle: those of the other machine are not to be had.
    names = {spore["name"] for spore in unpacked["spores"]}
    assert {"warm", "000000", "000001", "000002"} <= {Path(name).name for name in names}
    for name in names:
        assert answer("inspect", there / name, "--verify", env=elsewhere)["bad"] == []

    resumed = command("resume", there / "000001", "--timeout", "10", env=elsewhere)
    assert resumed.returncode == _TIMED_OUT, resumed.stderr
    assert "tick" in resumed.stdout
    done = command(
        *("run", "--from", there / "000002", "--", "sh", "-c", "hostname; cat /run/service"),
        env=elsewhere,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "spore-2"
    assert command("rm", there / "warm").returncode != 0  # its children need it
    for name in sorted(names, reverse=True):
        assert command("rm", "-f", there / name).returncode == 0
