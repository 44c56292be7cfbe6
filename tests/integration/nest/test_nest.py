"""The nest through the `spore` command: streams, statuses, clients that come, go and are killed."""

import concurrent.futures
import json
import os
import select
import signal
import subprocess
import sys

import pytest

BOUND = 180


def status(nest) -> dict:
    return json.loads(nest.run("status", "--json").stdout)


def read_line(process: subprocess.Popen) -> bytes:
    """A line of its output, or a failed test."""
    readable, _, _ = select.select([process.stdout], [], [], BOUND)
    assert readable, "no output"
    return process.stdout.readline()


def wait_for_end(pid: int) -> None:
    """Waits until a process that is not our child has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], BOUND)[0], f"process {pid} still lives"
    finally:
        os.close(fd)


def test_streams_and_exit_status(nest):
    done = nest.exec("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 7)


def test_a_signal_is_128_and_its_number(nest):
    assert nest.exec("sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL


def test_nothing_runs_on_cpu_0(nest):
    # Its flags are not safe from the other CPUs' threads; guest/nest_init/setup.h tells the story.
    done = nest.exec(sys.executable, "-c", "import os; print(0 in os.sched_getaffinity(0))")
    assert done.stdout == b"False\n"


def test_has_the_hosts_files_and_its_own_kvm(nest, tmp_path):
    (tmp_path / "a file").write_text("of the host")
    assert nest.exec("cat", str(tmp_path / "a file")).stdout == b"of the host"
    assert nest.exec("pwd", cwd=tmp_path).stdout.decode().strip() == str(tmp_path)
    assert nest.exec("test", "-c", "/dev/kvm").returncode == 0


def test_sees_files_as_they_are_now(nest, tmp_path):
    path = tmp_path / "changing"
    for content in ("first", "the second is longer", "3"):
        assert nest.exec("cat", str(path)).returncode == 1, "not there yet"
        path.write_text(content)
        assert nest.exec("cat", str(path)).stdout.decode() == content
        path.write_text(content[::-1])  # in place
        assert nest.exec("cat", str(path)).stdout.decode() == content[::-1]
        replacement = tmp_path / "replacement"
        replacement.write_text("replaced " + content)
        replacement.rename(path)
        assert nest.exec("cat", str(path)).stdout.decode() == "replaced " + content
        path.unlink()


def test_a_replaced_program_is_the_new_one(nest, tmp_path):
    for word in ("one", "two"):
        replacement = tmp_path / "new"
        replacement.write_text(f"#!/bin/sh\necho {word}\n")
        replacement.chmod(0o755)
        replacement.rename(tmp_path / "program")
        assert nest.exec(str(tmp_path / "program")).stdout.decode().strip() == word


def test_ten_megabytes_both_ways(nest):
    data = os.urandom(10_000_000)
    done = nest.exec("cat", input=data)
    assert done.returncode == 0
    assert done.stdout == data


def test_environment_is_what_was_given(nest):
    done = nest.run("exec", "-e", "WORD=a b=c", "--", "sh", "-c", 'echo "$WORD,$SPORE_RUNTIME_DIR"')
    assert done.stdout == b"a b=c,\n"


def test_a_program_that_is_not_there_is_one_line(nest):
    done = nest.exec("no-such-program")
    assert done.returncode == 125
    assert done.stderr.startswith(b"spore: ")
    assert b"no-such-program" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on(nest, number):
    name = signal.Signals(number).name.removeprefix("SIG")
    script = f"trap 'echo caught; exit 3' {name}; echo ready; while :; do sleep 0.05; done"
    with nest.popen("exec", "--", "sh", "-c", script) as process:
        assert read_line(process) == b"ready\n"
        process.send_signal(number)
        out, _ = process.communicate(timeout=BOUND)
    assert (out, process.returncode) == (b"caught\n", 3)


def test_an_unhandled_interrupt_is_130(nest):
    with nest.popen("exec", "--", "sh", "-c", "echo ready; exec sleep 1000") as process:
        assert read_line(process) == b"ready\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=BOUND)
    assert process.returncode == 130


def test_many_clients_at_once(nest):
    def ask(number: int) -> bytes:
        return nest.exec("echo", str(number)).stdout

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(24)))
    assert answers == [f"{number}\n".encode() for number in range(24)]


def test_a_killed_client_frees_its_port_and_its_processes_die(nest):
    with nest.popen("exec", "--", "sh", "-c", "echo $$; setsid sleep 4321 & wait") as process:
        pid = int(read_line(process))
        assert status(nest)["clients"] == 1
        process.kill()
    assert status(nest)["clients"] == 0
    gone = "while kill -0 $0 2>/dev/null || pgrep -f 'sleep [4]321'; do sleep 0.05; done"
    assert nest.exec("timeout", "60", "sh", "-c", gone, str(pid)).returncode == 0


def test_status_tells_about_it(nest):
    nest.run("start")
    answer = status(nest)
    assert answer["running"]
    assert answer["memory_bytes"] == 1 << 30
    assert answer["qemu_version"].count(".") == 2
    assert answer["pid"] > 0
    assert b"running since" in nest.run("status").stdout


def test_two_clients_at_once_start_one_nest(own_nest):
    clients = [own_nest.popen("exec", "--", "echo", word) for word in ("1", "2")]
    outs = [client.communicate(timeout=BOUND)[0] for client in clients]
    assert outs == [b"1\n", b"2\n"]
    answer = status(own_nest)
    assert answer["running"]
    assert own_nest.run("start").stdout == b"the nest was up already\n"
    assert status(own_nest)["pid"] == answer["pid"]
    # Killed without a word: noticed, cleaned up, started anew.
    os.kill(answer["pid"], signal.SIGKILL)
    wait_for_end(answer["pid"])
    assert not status(own_nest)["running"]
    assert own_nest.exec("echo", "again").stdout == b"again\n"
    assert status(own_nest)["pid"] != answer["pid"]
    pid = status(own_nest)["pid"]
    assert own_nest.run("stop").stdout == b"the nest is stopped\n"
    wait_for_end(pid)
    assert own_nest.run("stop").stdout == b"there was no nest to stop\n"
    assert [path.name for path in own_nest.runtime_dir.glob("*.sock")] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_start_leaves_nothing(own_nest, number):
    with own_nest.popen("start") as process:
        socket = own_nest.runtime_dir / "port-0.sock"
        while not socket.exists():
            assert process.poll() is None
        process.send_signal(number)
        process.communicate(timeout=BOUND)
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert not status(own_nest)["running"]
    # It can be started at once, which needs the lock that the QEMU before held.
    assert own_nest.run("stop").returncode == 0


_WAKE_UPS = """
import os, re, sys, time

def beats():
    found = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            status = open(f"/proc/{pid}/status").read()
            if os.sched_getscheduler(int(pid)) == os.SCHED_FIFO and "PPid:\\t1\\n" in status:
                [cpu] = os.sched_getaffinity(int(pid))
                found[cpu] = int(re.search(r"^voluntary_ctxt_switches:\\s*(\\d+)", status, re.M)[1])
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found

before = beats()
assert sorted(before) == list(range(os.cpu_count())), before
while any(count == before[cpu] for cpu, count in beats().items()):
    time.sleep(0.1)
"""


def test_every_cpu_is_woken_again_and_again(nest):
    done = nest.exec(sys.executable, "-c", _WAKE_UPS)
    assert done.returncode == 0, done.stderr


def test_powers_itself_off_when_idle(short_lived_nest):
    assert short_lived_nest.exec("echo", "up").stdout == b"up\n"
    answer = status(short_lived_nest)
    if answer["running"]:
        wait_for_end(answer["pid"])
    assert not status(short_lived_nest)["running"]


def test_no_qemu_names_the_package(own_nest):
    own_nest.env["PATH"] = "/nonexistent"
    done = own_nest.run("start")
    assert done.returncode == 125
    assert b"qemu-system-x86" in done.stderr
    assert done.stderr.startswith(b"spore: ")


def test_a_start_that_fails_shows_what_qemu_said(own_nest, tmp_path):
    fake = tmp_path / "qemu"
    fake.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --version ] && { echo "QEMU emulator version 10.0.0"; exit 0; }\n'
        "echo no room on this planet >&2\n"
    )
    fake.chmod(0o755)
    own_nest.env["SPORE_QEMU"] = str(fake)
    done = own_nest.run("start")
    assert done.returncode == 125
    assert b"no room on this planet" in done.stderr


def test_a_runtime_directory_open_to_others_is_refused(own_nest):
    own_nest.runtime_dir.chmod(0o755)
    done = own_nest.run("start")
    own_nest.runtime_dir.chmod(0o700)
    assert done.returncode == 125
    assert b"chmod 700" in done.stderr
