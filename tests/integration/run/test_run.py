"""`spore run` as users type it: streams, statuses, and one clear line for what cannot be."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.nest

_BOUND = 180  # seconds for one command; only a hang gets there
_NOT_STARTED = 125  # spore itself failed
_NOT_FOUND = 127
_TIMED_OUT = 124

Spore = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def run(program: str) -> Spore:
    def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **options.pop("env", {})}  # type: ignore[dict-item]
        if "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        return subprocess.run(
            [program, "run", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_BOUND,
            **options,  # type: ignore[call-overload]
        )

    return run


def _members(group: int) -> list[str]:
    """The processes of a process group that still live."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                members.append(stat.parent.name)
    return members


def test_streams_environment_and_status(run: Spore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host")
    script = "cat; echo $WORD >&2; cat file; echo mine > file; exit 7"
    options = ("--env", "WORD=word", "--mount", str(tmp_path), "--workdir", str(tmp_path))
    done = run(*options, "--", "sh", "-c", script, input="typed\n")
    assert (done.stdout, done.stderr, done.returncode) == ("typed\nof the host", "word\n", 7)
    assert (tmp_path / "file").read_text() == "of the host"


def test_a_signal_is_128_and_its_number(run: Spore) -> None:
    assert run("--", "sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL


def test_a_panic_is_told_with_the_console(run: Spore) -> None:
    done = run("--", "sh", "-c", "echo c > /proc/sysrq-trigger")
    assert done.returncode == _NOT_STARTED
    assert "Kernel panic - not syncing: sysrq triggered crash" in done.stderr


def test_out_of_memory_is_told(run: Spore) -> None:
    done = run("--memory", "160M", "--", "tail", "/dev/zero")
    assert done.returncode == 128 + signal.SIGKILL
    assert "out of memory" in done.stderr


def test_the_workloads_limit_is_reached_before_memory_is_gone(run: Spore) -> None:
    # Else the kernel evicts programs' pages and reads them back, for minutes.
    script = "cat /sys/fs/cgroup/workload/memory.max; grep MemFree /proc/meminfo"
    done = run("--memory", "128M", "--", "sh", "-c", script)
    limit, _, free_kib, _ = done.stdout.split()
    assert 0 < int(limit) < int(free_kib) * 1024, done.stdout + done.stderr


def test_a_command_that_hangs_is_ended(run: Spore) -> None:
    done = run("--timeout", "2", "--", "sleep", "600")
    assert done.returncode == _TIMED_OUT
    assert "--timeout" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("--kernel", "/nowhere", "--", "true"), _NOT_STARTED, "/nowhere"),
        (("--kernel", "/etc/passwd", "--", "true"), _NOT_STARTED, "it is not a kernel"),
        (("--memory", "16M", "--", "true"), _NOT_STARTED, "64 to 65536 MiB"),
        (("--memory", "64M", "--", "true"), _NOT_STARTED, "memory too small"),
        (("--memory", "lots", "--", "true"), _NOT_STARTED, "--memory lots"),
        (("--cpus", "0", "--", "true"), _NOT_STARTED, "--cpus"),
        (("--mount", "/nowhere", "--", "true"), _NOT_STARTED, "there is no /nowhere"),
        (("--workdir", "/nowhere", "--", "true"), _NOT_FOUND, "working directory /nowhere"),
        (("--", "/no/such/program"), _NOT_FOUND, "/no/such/program"),
        (("--", "/etc/passwd"), _NOT_STARTED, "not an executable file"),
        ((), _NOT_STARTED, "command is required"),
    ],
)
def test_bad_input_gets_one_clear_line(
    run: Spore, words: tuple[str, ...], status: int, says: str
) -> None:
    done = run(*words)
    assert done.returncode == status, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_root_without_the_program(run: Spore, tmp_path: Path) -> None:
    done = run("--root", str(tmp_path), "--", "/bin/true")
    assert done.returncode == _NOT_FOUND
    assert "no such program: /bin/true" in done.stderr


def test_a_program_of_another_architecture(run: Spore, tmp_path: Path) -> None:
    path = tmp_path / "arm"
    path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(300))
    path.chmod(0o755)
    done = run("--mount", str(tmp_path), "--", str(path))
    assert done.returncode == _NOT_STARTED
    assert "this machine runs x86_64" in done.stderr


def test_neither_kvm_nor_qemu(run: Spore, tmp_path: Path) -> None:
    other = {"SPORE_QEMU": "/bin/true", "SPORE_RUNTIME_DIR": str(tmp_path / "run")}
    done = run("--", "true", env=other)
    assert done.returncode == _NOT_STARTED
    assert "kvm: " in done.stderr
    assert "nest: /bin/true" in done.stderr


def test_a_full_disk_leaves_no_part_of_an_image(run: Spore, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_bytes(os.urandom(3 << 20))
    cache = tmp_path / "cache"
    cache.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=1M", "none", str(cache)]
    if subprocess.run(mounted, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    try:
        done = run("--mount", str(data), "--", "true", env={"SPORE_CACHE_DIR": str(cache)})
        assert done.returncode == _NOT_STARTED
        assert "is full" in done.stderr
        assert [path.name for path in cache.iterdir()] == ["lock"]
    finally:
        subprocess.run(["umount", str(cache)], check=True)


def test_two_runs_that_build_the_same_image(program: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("shared")
    environment = {**os.environ, "SPORE_CACHE_DIR": str(tmp_path / "cache")}
    command = [program, "run", "--mount", str(tmp_path / "data"), "--"]
    both = [
        subprocess.Popen(
            [*command, "cat", str(tmp_path / "data" / "file")],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    assert [process.communicate(timeout=_BOUND)[0] for process in both] == [b"shared"] * 2
    names = [path.name for path in (tmp_path / "cache").iterdir()]
    assert not [name for name in names if "partial" in name or "tmp" in name], names


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.5, 6])
def test_ctrl_c_ends_it_at_every_phase(program: str, seconds: float) -> None:
    process = subprocess.Popen(
        [program, "run", "--", "sleep", "600"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=_BOUND)
    finally:
        process.kill()
    assert process.returncode in (128 + signal.SIGINT, -signal.SIGINT)
    # What it had started was told too, and may take a moment to end.
    deadline = time.monotonic() + _BOUND
    while _members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _members(process.pid)
