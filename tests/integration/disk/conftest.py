"""The `spore` command, and a spore of a machine in which something runs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BOUND = 240  # seconds for one command; only a hang gets there

# A service: counts for ever, and tells how far it is.
SERVICE = "echo $$ > /run/service; i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.1; done"

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def command(program: str) -> Command:
    def command(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **options.pop("env", {})}
        options.setdefault("input", "")
        return subprocess.run(
            [program, *map(str, words)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=BOUND,
            **options,
        )

    return command


@pytest.fixture(scope="session")
def answer(command: Command) -> Callable[..., Any]:
    """The document that a verb answers with --json, which has to succeed."""

    def answer(*words: str | Path, **options: Any) -> Any:
        done = command(*words, "--json", **options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return answer


@pytest.fixture(scope="session")
def warm(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spore of a machine whose service has ticked three times."""
    path = tmp_path_factory.mktemp("spores") / "warm"
    done = command(
        *("run", "--memory", "256M", "--capture", path, "--capture-on", "line:tick 3"),
        *("--", "sh", "-c", SERVICE),
    )
    assert done.returncode == 0, done.stderr
    assert "tick 3\n" in done.stdout
    assert f"captured {path}" in done.stderr
    return path
