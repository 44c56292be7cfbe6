"""The C++ part of spore; use it through the package."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import final

from typing_extensions import Self

Progress = Callable[[str], object]
PathLike = str | os.PathLike[str]

@final
class ForkParameters:
    """Who a forked machine is."""

    def __init__(
        self,
        *,
        child_index: int = 0,
        child_count: int = 1,
        shard_index: int = 0,
        shard_count: int = 1,
        name: str = "",
        hostname: str = "",
        user: Mapping[str, str] = ...,
    ) -> None: ...
    @property
    def child_index(self) -> int: ...
    @property
    def child_count(self) -> int: ...
    @property
    def shard_index(self) -> int: ...
    @property
    def shard_count(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def hostname(self) -> str: ...
    @property
    def user(self) -> dict[str, str]: ...

@final
class Generation:
    """Which generation a machine is: 0 for a fresh boot, else one more than its spore's."""

    @property
    def number(self) -> int: ...
    @property
    def id(self) -> str: ...
    @property
    def parent_id(self) -> str: ...
    @property
    def parameters(self) -> ForkParameters: ...

@final
class MachineStats:
    """What a machine costs now."""

    @property
    def memory_bytes(self) -> int: ...
    @property
    def private_bytes(self) -> int: ...
    @property
    def shared_bytes(self) -> int: ...
    @property
    def exits(self) -> int: ...

@final
class BootTimings:
    """How long a boot took, in microseconds."""

    @property
    def build_us(self) -> int: ...
    @property
    def agent_ready_us(self) -> int: ...

@final
class CaptureTimings:
    """How long a capture took, in microseconds."""

    @property
    def freeze_us(self) -> int: ...
    @property
    def pause_us(self) -> int: ...

@final
class ForkTimings:
    """How long a fork or a reset took, in microseconds."""

    @property
    def build_us(self) -> int: ...
    @property
    def shell_us(self) -> int: ...
    @property
    def memory_us(self) -> int: ...
    @property
    def devices_us(self) -> int: ...
    @property
    def cpus_us(self) -> int: ...
    @property
    def agent_us(self) -> int: ...
    @property
    def user_us(self) -> int: ...
    @property
    def reset(self) -> bool: ...
    @property
    def pages_checked(self) -> int: ...
    @property
    def pages_copied(self) -> int: ...

@final
class MachineEnd:
    """How a machine ended."""

    @property
    def reason(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def console_tail(self) -> str: ...

@final
class Output:
    """Bytes that a process wrote to its stdout, stderr or channel."""

    @property
    def stream(self) -> str: ...
    @property
    def data(self) -> bytes: ...

@final
class AtFixturePoint:
    """A process waits at its fixture point to be captured or released."""

@final
class Exited:
    """A process ended."""

    @property
    def code(self) -> int: ...
    @property
    def signal(self) -> int: ...
    @property
    def out_of_memory(self) -> bool: ...
    @property
    def status(self) -> int: ...

@final
class Lost:
    """The machine ended, or was captured to be forked, before the process did."""

    @property
    def end(self) -> MachineEnd: ...

ProcessEvent = Output | AtFixturePoint | Exited | Lost

@final
class RunResult:
    """What a process printed, and how it ended."""

    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...
    @property
    def stdout_bytes(self) -> bytes: ...
    @property
    def stderr_bytes(self) -> bytes: ...
    @property
    def status(self) -> int: ...
    @property
    def exited(self) -> Exited: ...

@final
class Process:
    """A process in a guest."""

    @property
    def id(self) -> int: ...
    def events(self) -> Iterator[ProcessEvent]: ...
    def next_event(self, timeout: float | None = None) -> ProcessEvent | None: ...
    def wait(self, timeout: float | None = None) -> Exited: ...
    def write_stdin(self, data: bytes) -> None: ...
    def close_stdin(self) -> None: ...
    def write_channel(self, data: bytes) -> None: ...
    def close_channel(self) -> None: ...
    def signal(self, number: int) -> None: ...
    def resize(self, rows: int, columns: int) -> None: ...
    def release_fixture_point(self) -> None: ...

@final
class Spore:
    """A captured machine. Immutable; its children keep what they need of it."""

    def fork(self, children: int | Sequence[ForkParameters]) -> list[Machine]: ...
    def reset(self, machine: Machine, child: ForkParameters = ...) -> Machine: ...
    @property
    def generation(self) -> Generation: ...
    @property
    def timings(self) -> CaptureTimings: ...

@final
class Machine:
    """A running machine."""

    def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        workdir: str = "/",
        user: str = "",
        terminal: bool = False,
        rows: int = 24,
        columns: int = 80,
        channel: bool = False,
    ) -> Process: ...
    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        workdir: str = "/",
        user: str = "",
        input: bytes = b"",
        timeout: float | None = None,
    ) -> RunResult: ...
    def process(self, id: int) -> Process: ...
    def capture(self, *, keep_running: bool = False, timeout: float = 60.0) -> Spore: ...
    @property
    def generation(self) -> Generation: ...
    @property
    def ended(self) -> MachineEnd | None: ...
    def stats(self) -> MachineStats: ...
    @property
    def console_tail(self) -> str: ...
    @property
    def boot_timings(self) -> BootTimings: ...
    @property
    def fork_timings(self) -> ForkTimings: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

@final
class Session:
    """Where machines run, and all machines in it."""

    @staticmethod
    def open(*, engine: str = "auto", progress: Progress | None = None) -> Session: ...
    def boot(
        self,
        *,
        memory: int = ...,
        cpus: int = 1,
        kernel: str = "",
        images: Iterable[PathLike | Image] = (),
        hostname: str = "spore",
        timeout: float = 120.0,
    ) -> Machine: ...
    @property
    def engine(self) -> str: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

@final
class Image:
    """A root image in the cache."""

    @property
    def path(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def bytes(self) -> int: ...
    @property
    def built(self) -> bool: ...
    def __fspath__(self) -> str: ...

@final
class EngineReport:
    """What a probe of an engine found."""

    @property
    def name(self) -> str: ...
    @property
    def usable(self) -> bool: ...
    @property
    def why(self) -> str: ...

def build_image(
    *,
    paths: Iterable[PathLike] = (),
    mounts: Iterable[tuple[PathLike, PathLike]] = (),
    programs: Iterable[PathLike] = (),
    pythons: Iterable[PathLike] = (),
    excludes: Sequence[str] = (),
    base_system: bool = False,
    progress: Progress | None = None,
) -> Image: ...
def probe_engines() -> list[EngineReport]: ...
