"""What a clean machine for every test costs, in the nest: resets of a machine with a warm Python in
it, children that live at the same time, layers, and a suite of short tests beside pytest-forked.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import spore

MIB = 1024 * 1024
TESTS = 200
_LAYER_ROUNDS = 8

# A warm interpreter that does something for every line that it gets.
FIXTURE = """
import sys, json, decimal, http.client, email.message, xml.dom.minidom
data = {str(i): list(range(20)) for i in range(20000)}
print("ready", flush=True)
for line in sys.stdin:
    print(len(json.dumps(data["7"])), flush=True)
"""

SUITE = """
import pytest

@pytest.fixture(scope="session")
def warm():
    import json, decimal, http.client, xml.dom.minidom
    return {str(i): i for i in range(10000)}

@pytest.mark.parametrize("number", range(%d))
def test_short(number, warm):
    warm[str(number)] = -1
    assert len(warm) == 10000
"""


@dataclass
class Measured:
    """Medians but for layers; seconds, bytes and ratios."""

    fork: float  # to the fixture's first answer, without a pool
    reset: float  # to the same
    reset_host: float  # the host's part of it
    pages: float  # put back
    private: float  # of a child after its first answer, 100 alive
    layer_small: float  # capture of a child of 128 MiB, and of one of 2 GiB
    layer_large: float
    layer_more: float  # of one that wrote eight times as much
    each: float  # for a test
    forked: float


def _read(process: spore.Process) -> str:
    """The next output of a process."""
    for event in process.events():
        if isinstance(event, spore.Output):
            return event.data.decode()
        raise RuntimeError(f"the fixture ended: {event}")
    raise RuntimeError("the fixture is over")


def _capture_fixture(session: spore.Session, memory: int) -> tuple[spore.Spore, int]:
    image = spore.build_image(pythons=[sys.executable], base_system=True)
    machine = session.boot(memory=memory, images=[image])
    process = machine.exec([sys.executable, "-c", FIXTURE])
    if _read(process) != "ready\n":
        raise RuntimeError("the fixture did not come up")
    return machine.capture(), process.id


def _ask(machine: spore.Machine, fixture: int) -> None:
    """Waits for an answer of the fixture."""
    process = machine.process(fixture)
    process.write_stdin(b"go\n")
    _read(process)


def _forks_and_resets(session: spore.Session) -> tuple[float, float, float, float, float]:
    captured, fixture = _capture_fixture(session, 256 * MIB)
    forks, children = [], []
    for _ in range(10):  # all alive: none has what another left
        start = time.monotonic()
        (child,) = captured.fork(1)
        _ask(child, fixture)
        forks.append(time.monotonic() - start)
        children.append(child)
    # The pool had some ready.
    forks = sorted(forks)[len(forks) // 2 :]
    machine = children.pop()
    resets, host, pages = [], [], []
    for _ in range(40):
        start = time.monotonic()
        machine = captured.reset(machine)
        _ask(machine, fixture)
        if not machine.fork_timings.reset:
            continue
        resets.append(time.monotonic() - start)
        host.append(machine.fork_timings.build_us / 1e6)
        pages.append(machine.fork_timings.pages_copied)
    while len(children) < 99:
        children += captured.fork(9)
    children.append(machine)
    for child in children:
        _ask(child, fixture)
    private = statistics.median([child.stats().private_bytes for child in children])
    for child in children:
        child.close()
    middle = statistics.median
    return middle(forks), middle(resets), middle(host), middle(pages), private


def _layers(session: spore.Session, sizes: Sequence[tuple[int, int]]) -> list[float]:
    """Seconds to capture a child, for each memory size and MiB written.

    By turns, and the quickest of each: the pool's work in the background meets some of them.
    """
    image = spore.build_image(base_system=True)
    parents = []
    for memory, _ in sizes:
        with session.boot(memory=memory, images=[image]) as machine:
            parents.append(machine.capture())
    times: list[list[float]] = [[] for _ in sizes]
    for _ in range(_LAYER_ROUNDS):
        for (_, dirty_mib), parent, of_size in zip(sizes, parents, times):
            (child,) = parent.fork(1)
            child.run(["sh", "-c", f"head -c {dirty_mib}M /dev/zero | tr '\\0' x > /tmp/dirt"])
            start = time.monotonic()
            layer = child.capture()
            # The guest's part, until it stands still, is another matter.
            of_size.append(time.monotonic() - start - layer.timings.freeze_us / 1e6)
    return [min(of_size) for of_size in times]


def _suite(program: Path) -> tuple[float, float]:
    """Seconds for a test of a suite of short ones: each, and pytest-forked in the same nest."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "test_short.py").write_text(SUITE % TESTS)
        Path(directory, "pytest.ini").write_text("[pytest]\n")
        quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
        command = [sys.executable, "-m", "pytest", *quiet]
        ours = subprocess.run(
            [*command, "--spore-fork=1", "--spore-dist=each", "--spore-engine=nest", "-v"],
            cwd=directory,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        each = float(re.search(r"tests ran in ([0-9.]+) s", ours)[1])

        def in_nest(argument: str) -> float:
            # pytest's temporary files do not work on the nest's root, which is the host's.
            script = f"cd {directory} && TMPDIR=/run {' '.join(command)} {argument}"
            done = subprocess.run(
                [program, "nest", "exec", "--", "sh", "-c", script],
                capture_output=True,
                text=True,
                check=True,
            )
            return float(re.search(r" in ([0-9.]+)s", done.stdout)[1])

        # Ours is without collecting, so theirs is too.
        forked = in_nest("--forked") - in_nest("--collect-only")
    return each / TESTS, forked / TESTS


def measure(program: Path) -> Measured:
    with spore.Session.open(engine="nest") as session:
        fork, reset, host, pages, private = _forks_and_resets(session)
        small, large, more = _layers(session, [(128 * MIB, 2), (2048 * MIB, 2), (2048 * MIB, 16)])
    each, forked = _suite(program)
    return Measured(fork, reset, host, pages, private, small, large, more, each, forked)


if __name__ == "__main__":
    print(json.dumps(vars(measure(Path(os.environ["SPORE_BIN"]))), indent=1))
