"""The machine of a failed test, kept as it was at the failure, before any teardown.

    pytest --spore-fork --spore-keep-failed=kept examples/keep

The report names the kept machine and the command that looks into it, as often as you like:

    spore run --from kept/1/TEST -- cat /tmp/keep-example/service.log
    spore run --from kept/1/TEST -- ps aux        # the service still runs
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path("/tmp/keep-example")


@pytest.fixture
def service() -> Iterator[Path]:
    """A process that writes a log; both are gone after the test."""
    HOME.mkdir()
    log = HOME / "service.log"
    process = subprocess.Popen(
        ["sh", "-c", f"echo ready > {log}; echo 'error 17: no such account' >> {log}; sleep 600"]
    )
    while not log.exists() or "17" not in log.read_text():
        assert process.poll() is None
    yield log
    process.kill()
    process.wait()
    shutil.rmtree(HOME)


def test_service_has_no_errors(service: Path) -> None:
    assert service.read_text() == "ready\n"


def test_service_is_ready(service: Path) -> None:
    assert service.read_text().startswith("ready\n")
