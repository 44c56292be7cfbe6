"""The peer: QEMU's microvm with KVM, restored from a saved state to the guest's first output.

Runs inside the nest, so that both sides have the same host. The RAM is a file that the restored
machine maps privately; the state file holds everything else. Prints a JSON list of seconds.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MACHINE = "microvm,pit=off,pic=off,rtc=off,isa-serial=on"
MEMORY_MIB = 512
ROUNDS = 5


def cpio(init: Path) -> bytes:
    """An initramfs (newc) with /dev, /dev/console and /init."""

    def entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
        fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        return header + b"\0" * (-len(header) % 4) + data + b"\0" * (-len(data) % 4)

    return (
        entry("dev", 0o040755)
        + entry("dev/console", 0o020600, device=(5, 1))
        + entry("init", 0o100755, init.read_bytes())
        + entry("TRAILER!!!", 0)
    )


class Qemu:
    """One QEMU process, driven over QMP; used as a context manager."""

    def __init__(self, directory: Path, kernel: str, *, shared: bool, incoming: bool) -> None:
        self.monitor_path = directory / "monitor"
        self.monitor_path.unlink(missing_ok=True)
        backend = f"memory-backend-file,id=ram,size={MEMORY_MIB}M,mem-path={directory}/ram"
        self.process = subprocess.Popen(
            [
                "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
                "-M", f"{MACHINE},memory-backend=ram",
                "-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", str(MEMORY_MIB),
                "-object", f"{backend},share={'on' if shared else 'off'}",
                "-kernel", kernel, "-initrd", str(directory / "initramfs"),
                "-append", "console=ttyS0 quiet rdinit=/init reboot=t panic=-1",
                "-serial", "stdio", "-qmp", f"unix:{self.monitor_path},server=on,wait=off",
                *(["-incoming", "defer"] if incoming else []),
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.monitor = self._connect()

    def __enter__(self) -> Qemu:
        return self

    def __exit__(self, *_: object) -> None:
        self.monitor.close()
        self.process.kill()
        self.process.communicate()

    def _connect(self) -> socket.SocketIO:
        connection = socket.socket(socket.AF_UNIX)
        while True:
            try:
                connection.connect(str(self.monitor_path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if self.process.poll() is not None:
                    sys.exit(f"qemu_restore: QEMU ended with status {self.process.returncode}")
                time.sleep(0.001)
        monitor = connection.makefile("rw")
        self._file = monitor
        monitor.readline()
        self.order("qmp_capabilities")
        capability = {"capability": "x-ignore-shared", "state": True}
        self.order("migrate-set-capabilities", capabilities=[capability])
        return monitor  # type: ignore[return-value]

    def order(self, command: str, **arguments: object) -> Any:
        self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._file.flush()
        while True:
            answer = json.loads(self._file.readline())
            if "error" in answer:
                sys.exit(f"qemu_restore: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def await_output(self, mark: bytes) -> None:
        assert self.process.stdout is not None
        seen = b""
        while mark not in seen:
            chunk = os.read(self.process.stdout.fileno(), 4096)
            if not chunk:
                sys.exit("qemu_restore: QEMU ended before the guest said anything")
            seen = seen[-64:] + chunk


def save(directory: Path, kernel: str) -> None:
    with Qemu(directory, kernel, shared=True, incoming=False) as qemu:
        qemu.await_output(b"tick")
        qemu.order("stop")
        qemu.order("migrate", uri=f"file:{directory}/state")
        while qemu.order("query-migrate")["status"] != "completed":
            time.sleep(0.01)


def restore(directory: Path, kernel: str) -> float:
    started = time.monotonic()
    with Qemu(directory, kernel, shared=False, incoming=True) as qemu:
        qemu.order("migrate-incoming", uri=f"file:{directory}/state")
        while qemu.order("query-status")["status"] == "inmigrate":
            pass
        qemu.order("cont")
        qemu.await_output(b"tick")
        return time.monotonic() - started


def main() -> None:
    kernel, init = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        directory = Path(name)
        (directory / "initramfs").write_bytes(cpio(Path(init)))
        save(directory, kernel)
        print(json.dumps([restore(directory, kernel) for _ in range(ROUNDS)]))


if __name__ == "__main__":
    main()
