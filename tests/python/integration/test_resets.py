"""Machines that are put back to their spore, whatever was going on in them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import spore

pytestmark = pytest.mark.nest


@pytest.fixture(scope="module")
def session() -> Iterator[spore.Session]:
    with spore.Session.open() as session:
        yield session


@pytest.fixture(scope="module")
def captured(session: spore.Session) -> spore.Spore:
    image = spore.build_image(base_system=True)
    machine = session.boot(memory=256 << 20, cpus=2, images=[image])
    machine.run(["sh", "-c", "echo warm > /tmp/warm; mkdir -p /dev/shm"])
    return machine.capture()


def _sh(machine: spore.Machine, script: str) -> str:
    result = machine.run(["sh", "-c", script], timeout=120)
    assert result.status == 0, result.stderr
    return result.stdout


def test_a_reset_machine_is_the_spore_again_and_another_generation(captured: spore.Spore) -> None:
    (machine,) = captured.fork(1)
    identities = {_sh(machine, "cat /proc/sys/kernel/random/boot_id")}
    randoms = {_sh(machine, "od -An -tx8 -N16 /dev/urandom")}
    ids = {machine.generation.id}
    for index in range(5):
        background = machine.exec(["sh", "-c", "while :; do echo $$ > /tmp/$$; done"])
        _sh(machine, "echo dirty > /tmp/warm; head -c 3000000 /dev/urandom > /tmp/junk")
        reset = captured.reset(
            machine,
            spore.ForkParameters(child_index=index, child_count=5, hostname=f"life-{index}"),
        )
        with pytest.raises(spore.MachineEnded, match="put back"):
            background.wait(timeout=60)
        assert machine.ended is not None
        assert machine.ended.reason == "put back"
        machine = reset
        assert machine.fork_timings.reset
        assert machine.fork_timings.pages_copied > 0
        assert _sh(machine, "ls /tmp; cat /tmp/warm; hostname") == f"warm\nwarm\nlife-{index}\n"
        identities.add(_sh(machine, "cat /proc/sys/kernel/random/boot_id"))
        randoms.add(_sh(machine, "od -An -tx8 -N16 /dev/urandom"))
        ids.add(machine.generation.id)
    machine.close()
    assert len(identities) == len(randoms) == len(ids) == 6


def _many_streams(machine: spore.Machine) -> list[spore.Process]:
    # Three streams each.
    return [machine.exec(["sleep", "1000"]) for _ in range(334)]


def _flood(machine: spore.Machine) -> list[spore.Process]:
    # Nobody reads: windows, buffers and virtqueues are full.
    return [machine.exec(["sh", "-c", "exec yes"]) for _ in range(8)]


def _threads_in_a_loop(machine: spore.Machine) -> list[spore.Process]:
    return [machine.exec(["sh", "-c", "for i in $(seq 64); do (while :; do :; done) & done; wait"])]


def _panic(machine: spore.Machine) -> list[spore.Process]:
    process = machine.exec(["sh", "-c", "echo c > /proc/sysrq-trigger"])
    with pytest.raises(spore.MachineEnded):
        process.wait(timeout=120)
    return []


@pytest.mark.parametrize(
    "trouble", [_many_streams, _flood, _threads_in_a_loop, _panic], ids=lambda one: one.__name__
)
def test_a_machine_in_trouble_is_reset(
    captured: spore.Spore, trouble: Callable[[spore.Machine], list[spore.Process]]
) -> None:
    (machine,) = captured.fork(1)
    processes = trouble(machine)
    with captured.reset(machine) as reset:
        assert _sh(reset, "cat /tmp/warm; ls /tmp") == "warm\nwarm\n"
    for process in processes:
        with pytest.raises(spore.MachineEnded, match="put back"):
            process.wait(timeout=60)


def test_who_writes_to_a_machine_that_is_reset_is_told(captured: spore.Spore) -> None:
    (machine,) = captured.fork(1)
    process = machine.exec(["sleep", "1000"])
    failed: list[spore.Error] = []

    def write() -> None:
        try:
            process.write_stdin(b"x" * (4 << 20))
        except spore.Error as error:
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    with captured.reset(machine) as reset:
        writer.join(timeout=60)
        assert not writer.is_alive()
        assert "put back" in str(failed[0])
        assert _sh(reset, "cat /tmp/warm") == "warm\n"


def test_a_machine_goes_to_any_spore_of_its_tree(captured: spore.Spore) -> None:
    levels = [captured]
    for depth in range(1, 4):
        (machine,) = levels[-1].fork(1)
        _sh(machine, f"echo {depth} > /tmp/level-{depth}")
        levels.append(machine.capture())
    (machine,) = levels[-1].fork(1)
    for depth in (0, 3, 1, 2, 3, 0):
        _sh(machine, "echo dirt > /tmp/dirt")
        machine = levels[depth].reset(machine)
        expected = "".join(f"level-{level}\n" for level in range(1, depth + 1)) + "warm\n"
        assert _sh(machine, "ls /tmp") == expected
        assert machine.generation.number == depth + 1
    machine.close()
