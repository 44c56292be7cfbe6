"""`spore run --capture` and what goes on from it: run --from, resume, fanout, worker."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spore

pytestmark = pytest.mark.nest

_OWN_ERROR = 125
_TIMED_OUT = 124

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_command_starts_in_the_captured_machine(command: Command, warm: Path) -> None:
    done = command("run", "--from", warm, "--", "sh", "-c", "cat /run/service; exit 6")
    assert done.returncode == 6, done.stderr
    assert done.stdout.strip().isdigit()


def test_resume_follows_what_ran(command: Command, warm: Path) -> None:
    done = command("resume", warm, "--timeout", "2")
    assert done.returncode == _TIMED_OUT, done.stderr
    ticks = [int(number) for number in re.findall(r"tick (\d+)", done.stdout)]
    assert ticks == list(range(ticks[0], ticks[0] + len(ticks)))
    assert ticks[0] > 3  # what was told before the capture is not told again


def test_fanout_marks_whose_line_it_is(command: Command, warm: Path) -> None:
    done = command(
        *("fanout", warm, "--count", "3", "--parallel"),
        *("--", "sh", "-c", "hostname; echo err >&2; [ $(hostname) != spore-1 ]"),
    )
    assert done.returncode == 1, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"00000{i} | spore-{i}" for i in range(3)]
    assert done.stderr.count(" | err\n") == 3
    assert "000001 exited with status 1" in done.stderr


def test_fanout_ends_after_a_time_and_tells_in_json(command: Command, warm: Path) -> None:
    done = command("fanout", warm, "--count", "2", "--parallel=2", "--for", "10s", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["failed"] == 0
    assert [child["ended"] for child in document["children"]] == ["timed out", "timed out"]
    assert re.search(r"^00000[01] \| tick \d+$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("trigger", "script"),
    [
        ("exit", "echo made > /tmp/made"),
        ("after:1s", "echo made > /tmp/made; sleep 1000"),
        (
            "port:8080",
            "echo made > /tmp/made; exec python3 -c '"
            'import socket, time; s = socket.create_server(("", 8080)); time.sleep(1000)\'',
        ),
    ],
)
def test_triggers(command: Command, tmp_path: Path, trigger: str, script: str) -> None:
    saved = tmp_path / "spore"
    root: list[str] = []
    if "python3" in script:
        python = "/usr/bin/python3"
        root = ["--root", spore.build_image(base_system=True, pythons=[python]).path]
    done = command(
        *("run", "--memory", "256M", *root, "--capture", saved, "--capture-on", trigger),
        *("--quiesce", "100ms", "--no-flat", "--", "sh", "-c", script),
    )
    assert done.returncode == 0, done.stderr
    assert not (saved / "ram.img").exists()
    there = command("run", "--from", saved, "--", "cat", "/tmp/made")
    assert (there.stdout, there.returncode) == ("made\n", 0), there.stderr


def test_a_signal_captures_and_the_command_goes_on(program: str, tmp_path: Path) -> None:
    saved = tmp_path / "spore"
    script = "echo ready; while [ ! -e /tmp/over ]; do sleep 0.1; done; echo went on; exit 4"
    running = subprocess.Popen(
        [
            *(program, "run", "--memory", "256M", "--capture", saved, "--capture-on", "usr1"),
            *("--continue-after-capture", "--json", "--", "sh", "-c"),
            f"(sleep 8; touch /tmp/over) & {script}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    line = running.stderr.readline()
    while "ready" not in line:
        assert line, "the command never said that it was ready"
        line = running.stderr.readline()
    running.send_signal(signal.SIGUSR1)
    out, err = running.communicate(timeout=240)
    assert running.returncode == 4, err
    document = json.loads(out)
    assert document["status"] == 4
    assert document["spore"]["path"] == str(saved)
    assert "went on" in err


def test_nothing_is_overwritten(command: Command, warm: Path) -> None:
    before = sorted(entry.name for entry in warm.iterdir())
    done = command("run", "--capture", warm, "--", "true")
    assert done.returncode == _OWN_ERROR
    assert "is there already" in done.stderr
    assert sorted(entry.name for entry in warm.iterdir()) == before


def test_a_capture_that_never_came_is_told(command: Command, tmp_path: Path) -> None:
    done = command(
        *("run", "--memory", "256M", "--capture", tmp_path / "spore", "--capture-on", "line:never"),
        *("--", "true"),
    )
    assert done.returncode == _OWN_ERROR
    assert "over before its capture was due" in done.stderr
    assert list(tmp_path.iterdir()) == []


def _files_to_change(spore: Path) -> list[Path]:
    """Every file that a restore believes; of the chunks the one with the kernel's text, at 16 MiB,
    which every machine touches."""
    sections = json.loads((spore / "manifest.json").read_text())["sections"]
    ram = json.loads((spore / "sections" / f"{sections['ram']['sha256']}.json").read_text())
    (text,) = [chunk["sha256"] for chunk in ram["chunks"] if chunk["chunk"] == 8]
    return [
        spore / "manifest.json",
        spore / "manifest.sha256",
        *sorted((spore / "sections").iterdir()),
        spore / "chunks" / f"{text}.zst",
    ]


def test_one_changed_byte_is_refused_by_name(command: Command, warm: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    subprocess.run(["cp", "-r", warm, copied], check=True)
    for path in _files_to_change(copied):
        content = path.read_bytes()
        changed = bytearray(content)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        done = command("run", "--from", copied, "--", "true")
        assert done.returncode == _OWN_ERROR, path
        assert path.stem in done.stderr, done.stderr
        path.write_bytes(content)
    assert command("run", "--from", copied, "--", "true").returncode == 0


def test_a_worker_serves_each_request_in_a_clean_machine(program: str, warm: Path) -> None:
    request = {"spore": str(warm), "argv": ["sh", "-c", "cat; touch /tmp/x; ls /tmp"]}
    lines = [
        json.dumps({**request, "id": 1, "stdin": "one\n"}),
        json.dumps({**request, "id": 2, "stdin": "two\n"}),
        "no request",
        json.dumps({"spore": str(warm / "nowhere"), "argv": ["true"], "id": 4}),
        json.dumps({**request, "id": 5}),
    ]
    done = subprocess.run(
        [program, "worker"],
        input="".join(line + "\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each.get("id") for each in answers] == [1, 2, None, 4, 5]
    assert [answers[i]["stdout"] for i in (0, 1, 4)] == ["one\nx\n", "two\nx\n", "x\n"]
    assert answers[1]["timings"]["restore"]["reset"]
    assert "error" in answers[2]
    assert answers[3]["error"]["code"] == "not_found"


def test_ctrl_c_while_capturing_leaves_nothing_half_written(program: str, tmp_path: Path) -> None:
    saved = tmp_path / "spore"
    running = subprocess.Popen(
        [program, "run", "--memory", "256M", "--capture", saved, "--", "true"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 200
    while not any(tmp_path.iterdir()) and running.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    running.kill()
    running.communicate()
    if saved.exists():
        assert (saved / "manifest.sha256").exists()
