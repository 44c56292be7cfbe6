"""`spore create`, `exec`, `logs`, `list` and `rm` as users type them, on real machines."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import pytest

pytestmark = pytest.mark.nest

_BOUND = 60  # seconds that something is waited for
_OWN_ERROR = 125


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _wait_until(condition) -> None:
    deadline = time.monotonic() + _BOUND
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def _error(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Of a verb with --json; it says the same on stderr, in one line."""
    error = json.loads(done.stdout)["error"]
    assert done.stderr == f"spore: {error['message']}\n"
    return error


@pytest.fixture
def name(machines) -> Iterator[str]:
    """A name that is free, and is free again afterwards."""
    name = f"test-{os.getpid()}-own"
    yield name
    if name in machines.list():
        assert machines.run("rm", "-f", name).returncode == 0


# ---- exec


def test_exec_streams_environment_and_status(machines, web: str) -> None:
    script = "cat; echo $WORD >&2; pwd; id -un; hostname; exit 7"
    options = ("-i", "-e", "WORD=word", "-w", "/usr", "-u", "nobody")
    done = machines.run("exec", *options, web, "--", "sh", "-c", script, input="typed\n")
    assert (done.returncode, done.stderr) == (7, "word\n")
    assert done.stdout == "typed\n/usr\nnobody\nweb\n"


def test_exec_without_a_double_dash_and_without_input(machines, web: str) -> None:
    done = machines.run("exec", web, "cat", input="not passed on")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = machines.run("exec", web, "echo", "-n", "--json", "--", "x")
    assert done.stdout == "--json -- x"


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("sh", "-c", "kill -9 $$"), 128 + signal.SIGKILL, ""),
        (("/no/such/program",), 127, "/no/such/program"),
        (("/etc/passwd",), 126, "/etc/passwd"),
    ],
)
def test_exec_statuses(machines, web: str, words: tuple[str, ...], status: int, says: str) -> None:
    done = machines.run("exec", web, "--", *words)
    assert done.returncode == status
    assert says in done.stderr
    assert done.stderr.count("\n") == (1 if says else 0)


def test_exec_json(machines, web: str) -> None:
    done = machines.exec(web, "cat; echo e >&2; exit 3", "--json", "-i")
    report = json.loads(done.stdout)
    assert (done.returncode, report["status"], report["code"], report["signal"]) == (3, 3, 3, 0)
    assert (report["stdout"], report["stderr"], report["truncated"]) == ("", "e\n", False)
    done = machines.run("exec", "--json", web, "--", "nosuch")
    assert done.returncode == 127
    assert _error(done)["code"] == "not_found"
    done = machines.run("exec", "--json", "-t", web, "--", "true")
    assert done.returncode == _OWN_ERROR
    assert _error(done)["code"] == "invalid_argument"


def test_exec_of_much_input_and_output(machines, web: str) -> None:
    sent = os.urandom(3 << 20)
    done = machines.run("exec", "-i", web, "cat", input=sent, text=False)
    assert done.stdout == sent


def test_several_execs_at_once_share_the_machine(machines, web: str) -> None:
    running = [
        machines.popen("exec", web, "--", "sh", "-c", f"mkdir /tmp/at{i}; until [ -d /tmp/at3 -a "
                       f"-d /tmp/at0 -a -d /tmp/at1 -a -d /tmp/at2 ]; do sleep 0.1; done; echo {i}")
        for i in range(4)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=_BOUND) for process in running]
    assert outputs == [(f"{i}\n", "") for i in range(4)]


def _guest_has(machines, web: str, mark: str) -> bool:
    return machines.exec(web, f"pgrep -f '[s]leep {mark}'").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_exec_forwards_signals(machines, web: str, number: signal.Signals) -> None:
    trap = f"trap 'echo got; exit 5' {number.name[3:]}; echo ready; while :; do sleep 0.1; done"
    process = machines.popen("exec", web, "--", "sh", "-c", trap)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, _ = process.communicate(timeout=_BOUND)
    assert (out, process.returncode) == ("got\n", 5)


def test_ctrl_c_ends_the_command(machines, web: str) -> None:
    process = machines.popen("exec", web, "--", "sh", "-c", "echo ready; exec sleep 611")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=_BOUND)
    assert process.returncode == 128 + signal.SIGINT
    assert not _guest_has(machines, web, "611")


def test_a_second_ctrl_c_ends_a_stubborn_command_but_not_the_machine(machines, web: str) -> None:
    script = "trap '' INT; echo ready; while :; do sleep 612; done"
    process = machines.popen("exec", web, "--", "sh", "-c", script)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=_BOUND)
    assert process.returncode == 128 + signal.SIGINT
    _wait_until(lambda: not _guest_has(machines, web, "612"))


def test_a_killed_client_takes_its_command_with_it(machines, web: str) -> None:
    process = machines.popen("exec", "-i", web, "--", "sh", "-c", "sleep 613 & echo ready; wait")
    assert process.stdout.readline() == "ready\n"
    assert _guest_has(machines, web, "613")
    process.kill()
    process.communicate(timeout=_BOUND)
    _wait_until(lambda: not _guest_has(machines, web, "613"))


def test_what_a_command_leaves_in_the_background_goes_on(machines, web: str) -> None:
    done = machines.exec(web, "sleep 614 > /dev/null 2>&1 &")
    assert done.returncode == 0
    assert _guest_has(machines, web, "614")
    assert machines.exec(web, "pkill -f '[s]leep 614'").returncode == 0


def _read_until(fd: int, text: bytes) -> bytes:
    seen = b""
    deadline = time.monotonic() + _BOUND
    while text not in seen:
        assert select.select([fd], [], [], max(0, deadline - time.monotonic()))[0], seen
        try:
            part = os.read(fd, 4096)
        except OSError:
            part = b""
        assert part, seen
        seen += part
    return seen


def test_a_terminal_of_the_right_size_that_is_resized(machines, web: str) -> None:
    ours, theirs = pty.openpty()
    try:
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 77, 0, 0))
        before = termios.tcgetattr(theirs)
        process = machines.popen(
            "exec", "-it", web, "--", "sh", stdin=theirs, stdout=theirs, stderr=theirs,
            env={**os.environ, "TERM": "vt100"}, start_new_session=True,
        )  # fmt: skip
        os.write(ours, b"tty; stty size; echo $TERM; echo a'b'c\n")
        seen = _read_until(ours, b"\nabc")
        assert b"/dev/pts/" in seen
        assert b"31 77" in seen
        assert b"vt100" in seen
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 99, 0, 0))
        process.send_signal(signal.SIGWINCH)
        os.write(ours, b"sleep 0.5; stty size\n")
        _read_until(ours, b"40 99")
        os.write(ours, b"sleep 600\n")
        _read_until(ours, b"sleep 600")
        time.sleep(0.5)
        os.write(ours, b"\x03")  # the guest's terminal makes the signal
        os.write(ours, b"echo st''ill here; exit 9\n")
        _read_until(ours, b"still here")
        assert process.wait(_BOUND) == 9
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


# ---- logs and list


def test_logs_are_the_console(machines, web: str) -> None:
    assert machines.exec(web, "echo first mark > /dev/console").returncode == 0
    done = machines.run("logs", web)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("first mark\n")
    report = machines.json("logs", "--json", web)
    assert report["name"] == web
    assert "first mark\n" in report["console"]


def test_logs_follow(machines, web: str) -> None:
    follower = machines.popen("logs", "-f", web)
    try:
        machines.exec(web, "echo second mark > /dev/console")
        while follower.stdout.readline() != "second mark\n":
            assert follower.poll() is None
        assert follower.poll() is None
    finally:
        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=_BOUND)
    assert follower.returncode == 128 + signal.SIGINT


def test_list(machines, web: str) -> None:
    lines = machines.run("list").stdout.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "ENGINE", "MEMORY", "CPUS", "AGE"]
    (row,) = [line.split() for line in lines if line.split()[0] == web]
    assert row[1:5] == ["running", "nest", "512M", "1"]
    about = machines.list()[web]
    assert (about["state"], about["engine"], about["cpus"]) == ("running", "nest", 1)
    assert about["memory_bytes"] == 512 << 20
    assert len(about["generation"]) == 32
    assert about["monitor_pid"] == machines.monitor(web)
    assert 0 <= about["age_seconds"] < 600


# ---- a machine's life


def test_the_monitor_is_detached(machines, web: str) -> None:
    pid = machines.monitor(web)
    assert os.getsid(pid) == pid
    files = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)}
    assert files == {"/dev/null", str(machines.folder / web / "monitor.log")}
    assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_create_and_remove(machines, name: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("of the host")
    options = ("--memory", "256M", "--cpus", "2", "--mount", f"{tmp_path}:/mnt/data")
    about = machines.json("create", "--json", name, *options)
    assert (about["name"], about["state"]) == (name, "running")
    pid = about["monitor_pid"]
    assert machines.exec(name, "cat /mnt/data/data; nproc; hostname").stdout == (
        f"of the host2\n{name}\n"
    )
    done = machines.run("create", "--json", name)
    assert done.returncode == _OWN_ERROR
    assert "already (running)" in _error(done)["message"]
    done = machines.run("rm", "--json", name)
    assert done.returncode == _OWN_ERROR
    report = json.loads(done.stdout)
    assert report["removed"] == []
    assert f"spore rm -f {name}" in report["error"]["message"]
    assert machines.json("rm", "--json", "-f", name) == {"removed": [name]}
    assert not _alive(pid)
    assert not (machines.folder / name).exists()
    done = machines.run("rm", "-f", name)
    assert (done.returncode, done.stdout) == (_OWN_ERROR, "")
    assert "there is none of that name" in done.stderr


def test_two_creators_of_one_name(machines, name: str) -> None:
    both = [machines.popen("create", name, stdin=subprocess.DEVNULL) for _ in range(2)]
    answers = [process.communicate(timeout=_BOUND * 3) for process in both]
    assert sorted(process.returncode for process in both) == [0, _OWN_ERROR], answers
    assert any("there is one of that name already" in err for _, err in answers)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("Upper",), "a name is"),
        (("../x",), "a name is"),
        (("{name}", "--memory", "lots"), "--memory lots"),
        (("{name}", "--memory", "64M"), "memory too small"),
        (("{name}", "--kernel", "/etc/passwd"), "it is not a kernel"),
        (("{name}", "--root", "/nowhere"), "there is no such directory"),
        (("{name}", "--cpus", "9"), "--cpus"),
        (("{name}", "--nonsense"), "--nonsense"),
        ((), "name is required"),
    ],
)
def test_a_machine_that_cannot_be_leaves_nothing(
    machines, name: str, words: tuple[str, ...], says: str
) -> None:
    before = set(machines.folder.iterdir())
    done = machines.run("create", "--json", *(word.format(name=name) for word in words))
    assert done.returncode == _OWN_ERROR
    error = json.loads(done.stdout)["error"]
    assert says in error["message"]
    assert error["message"] in done.stderr
    assert set(machines.folder.iterdir()) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("seconds", [0.2, 1.5])
def test_a_creator_that_ends_early_leaves_nothing(
    machines, name: str, number: signal.Signals, seconds: float
) -> None:
    process = machines.popen("create", name, stdin=subprocess.DEVNULL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.send_signal(number)
    process.communicate(timeout=_BOUND)
    assert process.returncode in (128 + number, -number)
    _wait_until(lambda: name not in machines.list())
    assert not (machines.folder / name).exists()


def test_a_killed_monitor_is_noticed_and_cleaned_up(machines, name: str) -> None:
    for notice in ("list", "exec", "create"):
        machines.json("create", "--json", name)
        os.kill(machines.monitor(name), signal.SIGKILL)
        if notice == "list":
            done = machines.run("list")
            assert name not in done.stdout
            assert f"machine {name} is gone" in done.stderr
        elif notice == "exec":
            done = machines.run("exec", "--json", name, "--", "true")
            assert done.returncode == _OWN_ERROR
            assert "its monitor died" in _error(done)["message"]
        else:
            continue
        assert not (machines.folder / name).exists()
        done = machines.run("rm", "-f", name)
        assert "there is none of that name" in done.stderr


def test_a_monitor_that_is_told_to_end_leaves_nothing(machines, name: str) -> None:
    pid = machines.json("create", "--json", name)["monitor_pid"]
    running = machines.popen("exec", name, "--", "sleep", "600")
    _wait_until(lambda: machines.exec(name, "pgrep sleep").returncode == 0)
    os.kill(pid, signal.SIGTERM)
    _, said = running.communicate(timeout=_BOUND)
    assert running.returncode == _OWN_ERROR
    assert "was closed" in said
    _wait_until(lambda: not _alive(pid))
    assert not (machines.folder / name).exists()
    assert name not in machines.list()


def test_a_stopped_monitor_is_removed_by_force(machines, name: str) -> None:
    pid = machines.json("create", "--json", name)["monitor_pid"]
    os.kill(pid, signal.SIGSTOP)
    assert machines.run("rm", "-f", name).returncode == 0  # after a while
    assert not _alive(pid)
    assert not (machines.folder / name).exists()


def test_a_machine_that_ended_by_itself_stays_for_its_logs(machines, name: str) -> None:
    pid = machines.json("create", "--json", name)["monitor_pid"]
    follower = machines.popen("logs", "-f", name)
    running = machines.popen("exec", name, "--", "sleep", "600")
    machines.exec(name, "echo a mark > /dev/console")
    done = machines.exec(name, "echo c > /proc/sysrq-trigger")
    assert done.returncode == _OWN_ERROR
    assert "the guest kernel panicked" in done.stderr
    running.communicate(timeout=_BOUND)
    assert running.returncode == _OWN_ERROR
    console, _ = follower.communicate(timeout=_BOUND)
    assert follower.returncode == 0
    assert "a mark\n" in console
    assert "Kernel panic - not syncing: sysrq triggered crash" in console
    _wait_until(lambda: not _alive(pid))
    about = machines.list()[name]
    assert (about["state"], about["end"]["reason"]) == ("ended", "panicked")
    assert "sysrq triggered crash" in about["end"]["message"]
    assert not (machines.folder / name / "socket").exists()
    logs = machines.run("logs", name).stdout
    assert "a mark\n" in logs
    assert "Kernel panic" in logs
    done = machines.run("exec", "--json", name, "--", "true")
    assert done.returncode == _OWN_ERROR
    error = _error(done)
    assert error["code"] == "machine_ended"
    assert f"spore rm {name}" in error["message"]
    assert machines.run("create", name).returncode == _OWN_ERROR
    assert machines.run("rm", name).stdout == f"{name}\n"
    assert name not in machines.list()


def test_a_runtime_directory_with_a_long_path(machines, tmp_path: Path) -> None:
    """Sockets of machines have no limit of 107 bytes; those of the nest have, which is told."""
    folder = tmp_path / ("d" * 100)
    folder.mkdir(mode=0o700)
    environment = {**os.environ, "SPORE_RUNTIME_DIR": str(folder)}
    done = machines.run("create", "--engine", "nest", "web", env=environment)
    assert done.returncode == _OWN_ERROR
    assert "too long for a Unix socket" in done.stderr
    assert machines.run("list", env=environment).stdout.count("\n") == 1
