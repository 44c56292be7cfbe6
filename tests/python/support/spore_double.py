"""A test double of the engine: machines are processes of this host, forked with os.fork.

Loaded with `pytest -p spore_double`. On the host's side it stands in for spore._core; in a "guest",
which is given the same arguments, for spore.fixture_point. It has the shape of the real interface
and its order of events, and none of its isolation.

A guest that ends with status PANIC plays a machine whose kernel panicked.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import types
from dataclasses import dataclass, field

import pytest
import spore
from double_kept import (  # noqa: F401
    engine_parts,
    find_kept,
    keep,
    kept_digest,
    kept_limit,
    kept_machines,
    known_digest,
    remove_kept,
)

PANIC = 99
RELEASE = b"release"
CONTROL = "DOUBLE_CONTROL_FD"
CHANNEL = "SPORE_CHANNEL_FD"


@dataclass(frozen=True)
class Output:
    stream: str
    data: bytes


@dataclass(frozen=True)
class AtFixturePoint:
    pass


@dataclass(frozen=True)
class Exited:
    code: int = 0
    signal: int = 0
    out_of_memory: bool = False

    @property
    def status(self) -> int:
        return 128 + self.signal if self.signal else self.code


@dataclass(frozen=True)
class MachineEnd:
    reason: str = "closed"
    detail: str = "was closed"
    console_tail: str = ""


@dataclass(frozen=True)
class Lost:
    end: MachineEnd


@dataclass(frozen=True)
class Image:
    path: str
    digest: str = "0" * 64
    bytes: int = 3 * 1024 * 1024
    built: bool = True
    archive: bool = False


@dataclass(frozen=True)
class MachineStats:
    memory_bytes: int = 1 << 30
    private_bytes: int = int(os.environ.get("SPORE_DOUBLE_PRIVATE_MIB", "5")) << 20
    shared_bytes: int = 100 << 20
    exits: int = 1


@dataclass(frozen=True)
class ForkTimings:
    shell_us: int = 100
    memory_us: int = 200
    devices_us: int = 300
    cpus_us: int = 400
    agent_us: int = 5000
    user_us: int = 40
    reset: bool = False
    pages_copied: int = 0


@dataclass(frozen=True)
class ForkParameters:
    child_index: int = 0
    child_count: int = 1
    shard_index: int = 0
    shard_count: int = 1
    name: str = ""
    hostname: str = ""
    user: dict = field(default_factory=dict)


def build_image(**_):
    return Image("/double.squashfs")


class Process:
    """Events of one process."""

    id = 7

    def __init__(self, channel):
        self._channel = channel
        self._queue = queue.SimpleQueue()

    def events(self):
        events = self._queue
        while True:
            event = events.get()
            yield event
            if isinstance(event, (Exited, Lost)):
                return

    def write_stdin(self, data):
        self.stdin.write(data)
        self.stdin.flush()

    def close_stdin(self):
        self.stdin.close()

    def write_channel(self, data):
        try:
            self._channel.sendall(data)
        except OSError as error:
            raise spore.MachineEnded(f"writing to the channel: {error}") from error


class World:
    """A process, all that are forked of it, and what they say."""

    def __init__(self, argv, env):
        ours, theirs = socket.socketpair()
        control, guest_control = _control_pair()
        descriptors = (theirs.fileno(), guest_control.fileno())
        env = {**env, CHANNEL: str(descriptors[0]), CONTROL: str(descriptors[1])}
        self.popen = subprocess.Popen(
            argv,
            env=env,
            pass_fds=descriptors,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        Process.stdin = self.popen.stdin  # one for all: whoever reads gets what is written
        theirs.close()
        guest_control.close()
        self.process = Process(ours)
        self.captured = False
        self.first = Zygote(control)
        self.children = {}  # by process id; of the listening thread
        streams = {
            ours.fileno(): ("channel", self.process),
            self.popen.stdout.fileno(): ("stdout", self.process),
            self.popen.stderr.fileno(): ("stderr", self.process),
        }
        threading.Thread(target=self._listen, args=(streams,), daemon=True).start()

    def _listen(self, streams):
        """Reads control messages in their order with the output written before each."""
        owners = {self.first.control: None}  # the child whose control it is
        while self.first.control in owners:
            select.select([*owners, *streams], [], [])
            # Looked at first: what comes into a pipe later was not written before this message.
            told = select.select([*owners], [], [], 0)[0]
            if not told:
                self._drain(streams)
                continue
            control = told[0]
            try:
                data = control.recv(65536)
            except ConnectionResetError:
                data = b""
            owner = owners[control] if data else owners.pop(control)
            message = json.loads(data) if data else {}
            if "forked" in message:
                # Known from here on: it may end at once.
                zygote = owner.zygote if owner is not None else self.first
                born = zygote.bear(message["forked"])
                self.children[message["forked"]] = born
                owners[born.zygote.control] = born
                for stream, descriptor in born.outputs.items():
                    streams[descriptor] = (stream, born._process)
            child = self.children.get(message.get("exited"))
            self._drain(streams)
            if "at" in message:
                (owner._process if owner is not None else self.process)._queue.put(AtFixturePoint())
            elif child is not None:
                del self.children[message["exited"]]
                for stream, descriptor in child.outputs.items():
                    streams.pop(descriptor, None)  # a process that it left may hold it
                    if stream != "channel":
                        os.close(descriptor)
                child._exited(message["status"])
        self.popen.wait()
        code = self.popen.returncode
        if not self.captured:
            self._drain(streams)
            self.process._queue.put(Exited(max(code, 0), max(-code, 0)))

    def _drain(self, streams):
        """As the agent does: what was written to the channel before something comes before it."""
        while ready := select.select([*streams], [], [], 0)[0]:
            printing = [one for one in ready if streams[one][0] != "channel"]
            found = [(one, self._read(one)) for one in printing]
            channels = [one for one in streams if streams[one][0] == "channel"]
            found[:0] = [(one, self._read(one)) for one in select.select(channels, [], [], 0)[0]]
            for descriptor, data in found:
                stream, process = streams[descriptor]
                if data:
                    process._queue.put(Output(stream, data))
                else:
                    del streams[descriptor]

    @staticmethod
    def _read(descriptor):
        try:
            return os.read(descriptor, 65536)
        except ConnectionResetError:
            return b""


class Zygote:
    """A process that waits at its fixture point and forks on request."""

    def __init__(self, control):
        self.control = control
        self._unborn = queue.SimpleQueue()
        self._born = queue.SimpleQueue()

    def fork(self, parameters):
        ours, theirs = socket.socketpair()
        control, guest_control = _control_pair()
        stdout, guest_stdout = os.pipe()
        stderr, guest_stderr = os.pipe()
        process = Process(ours)
        outputs = {"channel": ours.fileno(), "stdout": stdout, "stderr": stderr}
        self._unborn.put((process, control, outputs))
        with theirs, guest_control:
            message = json.dumps(vars(parameters)).encode()
            descriptors = [theirs.fileno(), guest_control.fileno(), guest_stdout, guest_stderr]
            socket.send_fds(self.control, [message], descriptors)
        os.close(guest_stdout)
        os.close(guest_stderr)
        return self._born.get(timeout=30)

    def bear(self, pid):
        process, control, outputs = self._unborn.get_nowait()
        child = ChildMachine(pid, process, Zygote(control), outputs)
        self._born.put(child)
        return child


def _control_pair():
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class ChildMachine:
    fork_timings = ForkTimings()

    def __init__(self, pid, process, zygote, outputs):
        self._pid = pid
        self._process = process
        self.zygote = zygote
        self.outputs = outputs  # where what it prints is read, by stream
        process.signal = lambda number: os.kill(pid, number)
        process.release_fixture_point = lambda: zygote.control.send(RELEASE)
        self._closed = False

    def _exited(self, status):
        code = os.waitstatus_to_exitcode(status)
        if self._closed:
            self._process._queue.put(Lost(MachineEnd()))
        elif code == PANIC:
            end = MachineEnd("panicked", "Kernel panic - not syncing: double", "the console's end")
            self._process._queue.put(Lost(end))
        else:
            self._process._queue.put(Exited(max(code, 0), max(-code, 0)))

    def process(self, _):
        return self._process

    def capture(self, *, keep_running):
        assert keep_running
        return Spore(self.zygote)

    def stats(self):
        return MachineStats()

    def close(self):
        if not self._closed:
            self._closed = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)


class Machine:
    def __init__(self):
        self._world = None

    def exec(self, argv, *, env, channel):
        assert channel
        self._world = World(argv, env)
        return self._world.process

    def capture(self):
        self._world.captured = True
        self._world.process._queue.put(Lost(MachineEnd()))
        return Spore(self._world.first)

    def stats(self):
        return MachineStats()

    def close(self):
        if self._world is not None and not self._world.captured:
            self._world.popen.kill()


class Spore:
    def __init__(self, zygote):
        self._zygote = zygote

    def fork(self, children):
        if "SPORE_DOUBLE_ENGINE_GONE" in os.environ:
            raise spore.MachineEnded("the connection to the engine broke: the double is gone")
        return [self._zygote.fork(parameters) for parameters in children]

    def reset(self, machine, child):
        if machine.zygote is self._zygote:  # it is what its children are forked of
            machine._process._queue.put(Lost(MachineEnd()))
        else:
            machine.close()
        (following,) = self.fork([child])
        following.fork_timings = ForkTimings(reset=True, pages_copied=77)
        return following


class Session:
    engine = "double"

    def __init__(self):
        self._machines = []

    @staticmethod
    def open(engine="auto", progress=None):
        return Session()

    def boot(self, **arguments):
        if "SPORE_DOUBLE_BOOT" in os.environ:  # a file that gets what the machine is made of
            with open(os.environ["SPORE_DOUBLE_BOOT"], "w", encoding="utf-8") as file:
                json.dump(arguments, file)
        self._machines.append(Machine())
        return self._machines[-1]

    def close(self):
        for machine in self._machines:
            world = machine._world
            if world is not None:
                world.popen.kill()
                world.popen.wait()


def _take_own_files():
    """Gives this fork copies of unlinked files, such as the one of pytest's captured output.

    Else all forks read and write in one, at one position.
    """
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        with contextlib.suppress(OSError):  # the one that listed them is closed
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                position = os.lseek(descriptor, 0, os.SEEK_CUR)
                with tempfile.TemporaryFile(buffering=0) as own:
                    own.write(os.pread(descriptor, status.st_size, 0))
                    os.dup2(own.fileno(), descriptor, inheritable=False)
                os.lseek(descriptor, position, os.SEEK_SET)


def _print_into(*outputs):
    """Puts pipes in the place of standard output and error, and of all copies of them."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(outputs[_outputs.index(_file(int(name)))], int(name), int(name) < 3)
    _outputs[:] = [_file(descriptor) for descriptor in outputs]


def _file(descriptor):
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _guest_fixture_point():
    try:
        return _wait_at_fixture_point()
    except OSError:
        os._exit(0)  # the host is gone, and a machine with it


def _wait_at_fixture_point():
    control = _controls[-1]
    control.send(json.dumps({"at": "fixture"}).encode())
    watched = {}
    while True:
        ready, _, _ = select.select([control, *watched], [], [])
        for descriptor in ready:
            if descriptor is not control:
                pid = watched.pop(descriptor)
                os.close(descriptor)
                _, status = os.waitpid(pid, 0)
                control.send(json.dumps({"exited": pid, "status": status}).encode())
                continue
            data, descriptors, _, _ = socket.recv_fds(control, 65536, 4)
            if not data:
                os._exit(0)
            if data == RELEASE:
                return spore.generation()
            pid = os.fork()
            if pid == 0:
                os.dup2(descriptors[0], int(os.environ[CHANNEL]), inheritable=False)
                _print_into(*descriptors[2:])
                for one in (descriptors[0], *descriptors[2:]):
                    os.close(one)
                os.set_inheritable(descriptors[1], False)
                control.close()
                _take_own_files()
                for other in watched:
                    os.close(other)
                _controls.append(socket.socket(fileno=descriptors[1]))
                number = len(_controls) - 1
                generation = spore.GuestGeneration(
                    number=number, id=f"{os.getpid():032x}", **json.loads(data)
                )
                spore.generation = lambda known=generation: known
                return generation
            for one in descriptors:
                os.close(one)
            watched[os.pidfd_open(pid)] = pid
            control.send(json.dumps({"forked": pid}).encode())


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """A machine has a disk of its own: what it writes into its --basetemp is not on the host's."""
    if CONTROL in os.environ and config.option.basetemp:
        config.option.basetemp = f"{config.option.basetemp}-inside"


if CONTROL in os.environ:
    _controls = [socket.socket(fileno=int(os.environ[CONTROL]))]  # those of the processes above too
    _outputs = [_file(1), _file(2)]  # which files standard output and error are
    spore.fixture_point = _guest_fixture_point
else:
    core = types.ModuleType("spore._core")
    for _name, _value in list(globals().items()):
        if not _name.startswith("_"):
            setattr(core, _name, _value)
    sys.modules["spore._core"] = core
