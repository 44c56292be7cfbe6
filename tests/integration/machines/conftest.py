"""Named machines in a registry of the tests' own, on the nest of the session."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

BOUND = 180  # seconds for one command; only a hang gets there


class Machines:
    """The `spore` command, and the folder of its registry."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.folder = folder

    def run(self, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("text", True)
        return subprocess.run(
            [self.program, *words],
            capture_output=True,
            timeout=BOUND,
            **options,  # type: ignore[call-overload]
        )

    def popen(self, *words: str, **options: object) -> subprocess.Popen[str]:
        for stream in ("stdin", "stdout", "stderr"):
            options.setdefault(stream, subprocess.PIPE)
        return subprocess.Popen([self.program, *words], text=True, **options)  # type: ignore[call-overload]

    def exec(self, name: str, script: str, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run("exec", *options, name, "--", "sh", "-c", script)

    def json(self, *words: str, status: int = 0) -> dict:
        done = self.run(*words)
        assert done.returncode == status, done.stderr
        return json.loads(done.stdout)

    def list(self) -> dict[str, dict]:
        return {machine["name"]: machine for machine in self.json("list", "--json")["machines"]}

    def monitor(self, name: str) -> int:
        return json.loads((self.folder / name / "monitor.json").read_text())["pid"]


@pytest.fixture(scope="session")
def machines(program: str) -> Iterator[Machines]:
    runtime = os.environ.get("SPORE_RUNTIME_DIR")
    if not runtime:
        xdg = os.environ.get("XDG_RUNTIME_DIR")
        runtime = f"{xdg}/spore" if xdg else f"/tmp/spore-{os.geteuid()}"
    ours = Machines(program, Path(runtime) / "machines")
    before = set(ours.list())
    yield ours
    left = {name for name in set(ours.list()) - before if str(os.getpid()) in name}
    for name in left:
        ours.run("rm", "-f", name)
    assert not left, f"tests left machines: {left}"


@pytest.fixture(scope="session")
def web(machines: Machines) -> Iterator[str]:
    """A machine that the tests share."""
    name = f"test-{os.getpid()}-web"
    done = machines.run("create", name, "--hostname", "web")
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == (name + "\n", "")
    yield name
    assert machines.run("rm", "-f", name).returncode == 0
