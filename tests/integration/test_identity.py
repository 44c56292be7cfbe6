"""Many children of one spore: each is somebody else from its first instruction on."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spore

pytestmark = pytest.mark.nest

_BATCH = 20
_BOUND = 300  # seconds for one wait; only a hang gets there
_CLOCK_TOLERANCE = 60  # seconds: right, not precise

# Waits to be captured; everything after `fixture_point` is the child's.
_PROGRAM = """
import glob, json, os, socket, time, uuid
import spore

def read(path):
    with open(path) as file:
        return file.read().strip()

os.getrandom(16), uuid.uuid4()  # warm: a copied state would show
generation = spore.fixture_point()
found = {
    "random": os.getrandom(16).hex(),
    "uuid": str(uuid.uuid4()),
    "time": time.time(),
    "machine_id": read("/etc/machine-id"),
    "hostname": socket.gethostname(),
    "boot_id": read("/proc/sys/kernel/random/boot_id"),
    "generation": generation.id,
    "mac": generation.mac,
    "addresses": [
        read(path)
        for path in sorted(glob.glob("/sys/class/net/*/address"))
        if read(os.path.join(os.path.dirname(path), "type")) == "1"
    ],
}
print(json.dumps(found), flush=True)
"""


@pytest.fixture
def parent() -> Iterator[spore.Machine]:
    package = Path(spore.__file__).parent
    images = [
        spore.build_image(pythons=[sys.executable], base_system=True),
        spore.build_image(
            paths=[package / f"{name}.py" for name in ("__init__", "errors", "guest")]
        ),
    ]
    with spore.Session.open() as session, session.boot(memory=256 << 20, images=images) as machine:
        yield machine


def _wait_for_fixture_point(process: spore.Process) -> None:
    printed = b""
    while True:
        event = process.next_event(timeout=_BOUND)
        if isinstance(event, spore.AtFixturePoint):
            return
        assert isinstance(event, spore.Output), f"{event!r}, after {printed!r}"
        printed += event.data


def _what_it_found(process: spore.Process) -> dict[str, Any]:
    printed = b""
    while not printed.endswith(b"}\n"):
        event = process.next_event(timeout=_BOUND)
        assert isinstance(event, spore.Output), f"{event!r}, after {printed!r}"
        printed += event.data
    found: dict[str, Any] = json.loads(printed)
    return found


@pytest.mark.parametrize("count", [60, pytest.param(200, marks=pytest.mark.long)])
def test_every_child_is_somebody_else(parent: spore.Machine, count: int) -> None:
    process = parent.exec(
        [sys.executable, "-c", _PROGRAM],
        env={"PYTHONPATH": str(Path(spore.__file__).parents[1])},
    )
    _wait_for_fixture_point(process)
    captured = parent.capture()

    found: dict[int, dict[str, Any]] = {}
    ids: dict[int, str] = {}
    for first in range(0, count, _BATCH):
        batch = range(first, min(first + _BATCH, count))
        before = time.time()
        machines = captured.fork(
            [spore.ForkParameters(child_index=index, child_count=count) for index in batch]
        )
        for index, machine in zip(batch, machines):
            with machine:
                child = _what_it_found(machine.process(process.id))
            assert before - _CLOCK_TOLERANCE < child["time"] < time.time() + _CLOCK_TOLERANCE
            ids[index] = machine.generation.id
            found[index] = child

    assert len(found) == count
    assert {index: child["generation"] for index, child in found.items()} == ids
    for name in ("random", "uuid", "machine_id", "hostname", "boot_id", "generation", "mac"):
        assert len({child[name] for child in found.values()}) == count, name
    for child in found.values():
        assert uuid.UUID(child["uuid"]).version == 4
        assert child["addresses"] == [child["mac"]]
