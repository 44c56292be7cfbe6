"""Named machines to disk and back: capture, suspend, resume."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.nest

_OWN_ERROR = 125
_COUNTER = (  # renamed into place: who reads between its truncation and its write finds nothing
    "(i=0; while :; do i=$((i+1)); echo $i > /tmp/next; mv /tmp/next /tmp/count; sleep 0.05; done)"
    " > /dev/null 2>&1 &"
)


@pytest.fixture
def counting(machines) -> Iterator[str]:
    """A machine in which something counts, whoever looks."""
    name = f"test-{os.getpid()}-counting"
    assert machines.run("create", name, "--memory", "256M").returncode == 0
    started = f"setsid sh -c '{_COUNTER}'; until [ -e /tmp/count ]; do sleep 0.01; done"
    assert machines.exec(name, f"{started}; echo kept > /tmp/kept").returncode == 0
    yield name
    assert machines.run("rm", "-f", name).returncode == 0


def _count(machines, name: str) -> int:
    done = machines.exec(name, "cat /tmp/count")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_captured_machine_goes_on(machines, counting: str, tmp_path: Path) -> None:
    warm = tmp_path / "warm"
    saved = machines.json("capture", counting, str(warm), "--no-flat", "--json")
    assert saved["path"] == str(warm)
    assert _count(machines, counting) > 0
    assert machines.list()[counting]["state"] == "running"
    again = machines.run("capture", counting, str(warm))
    assert again.returncode == _OWN_ERROR
    assert "is there already" in again.stderr
    assert _count(machines, counting) > 0  # what cannot be saved does not end it

    other = counting + "-other"
    resumed = machines.json("resume", str(warm), "--name", other, "--json")
    assert resumed["state"] == "running"
    assert machines.exec(other, "cat /tmp/kept; hostname").stdout == f"kept\n{other}\n"
    assert machines.run("rm", "-f", other).returncode == 0


def test_a_suspended_machine_goes_on_where_it_was(machines, counting: str) -> None:
    for _ in range(2):  # the second time, only the difference is written
        before = _count(machines, counting)
        saved = machines.json("suspend", counting, "--json")
        assert machines.list()[counting]["state"] == "suspended"
        refused = machines.exec(counting, "true")
        assert refused.returncode == _OWN_ERROR
        assert f"spore resume {counting}" in refused.stderr
        resumed = machines.run("resume", counting)
        assert (resumed.stdout, resumed.returncode) == (counting + "\n", 0), resumed.stderr
        assert _count(machines, counting) >= before
        assert machines.exec(counting, "cat /tmp/kept").stdout == "kept\n"
    assert saved["parent"]
    assert machines.run("resume", counting).returncode == _OWN_ERROR  # it runs


def test_a_machine_that_cannot_be_suspended_goes_on(
    machines, counting: str, tmp_path: Path
) -> None:
    done = machines.run("capture", counting, str(tmp_path / "no" / "where"), "--stop")
    assert done.returncode == _OWN_ERROR
    assert machines.list()[counting]["state"] == "running"
    assert machines.exec(counting, "cat /tmp/kept").stdout == "kept\n"


def test_a_suspended_machine_survives_a_resume_that_fails(machines, counting: str) -> None:
    saved = machines.json("suspend", counting, "--json")
    manifest = Path(saved["path"]) / "manifest.json"
    content = manifest.read_bytes()
    manifest.write_bytes(content.replace(b'"version":1', b'"version":2'))
    failed = machines.run("resume", counting)
    assert failed.returncode == _OWN_ERROR
    assert "manifest.json" in failed.stderr
    assert machines.list()[counting]["state"] == "suspended"
    manifest.write_bytes(content)
    assert machines.run("resume", counting).returncode == 0
