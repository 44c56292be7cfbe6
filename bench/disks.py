"""Spores on disk, measured: what `bench/run.py` prints about them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
SKIPPED = 77
_CONTENT = 256 * MIB
_CHILDREN = 1000


@dataclass
class Disks:
    """Times in seconds, sizes in bytes. None: there is no KVM here to measure it with."""

    resume: dict[int, float] | None = None  # by MiB of RAM, from the flat backing
    lazy_loaded: float = 0  # chunks
    lazy_touched: float = 0
    save: float = 0  # of _CONTENT bytes
    content: float = 0
    files: float = 0
    zstd: float = 0  # the same bytes, by zstd -T0
    sha256: float = 0  # the same bytes, by all cores at the speed that openssl tells
    fork: float = 0  # on disk, each of _CHILDREN
    fork_ram_bytes: int = 0  # that they wrote
    idle: int = 0  # bundle of an idle 512 MiB machine, without its root image


def _collect_content(path: Path) -> None:
    """What RAM is full of, more or less: programs, libraries, text."""
    left = _CONTENT
    with path.open("wb") as out:
        for root in ("/usr/lib", "/usr/share"):
            for folder, _, names in sorted(os.walk(root)):
                for name in sorted(names):
                    file = Path(folder) / name
                    if left and file.is_file() and not file.is_symlink():
                        left -= out.write(file.read_bytes()[:left])


def _best(command: list[str], rounds: int = 3) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return min(times)


def _openssl_rate() -> float:
    """Bytes a second of SHA-256, by one core."""
    done = subprocess.run(
        ["openssl", "speed", "-seconds", "1", "-bytes", str(MIB), "-evp", "sha256", "-mr"],
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("+F:")]
    return float(line.split(":")[-1])


def _native(program: Path, folder: Path, got: Disks) -> None:
    content = folder / "content"
    _collect_content(content)
    done = subprocess.run([program, content, folder], capture_output=True, text=True, check=False)
    if done.returncode == SKIPPED:
        return
    if done.returncode != 0:
        sys.exit(f"bench: disk_bench ended with status {done.returncode}: {done.stderr.strip()}")
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    values = {entry["name"]: entry["p50_us"] for entry in entries}
    got.resume = {
        entry["memory_mib"]: entry["p50_us"] / 1e6
        for entry in entries
        if entry["name"] == "resume from the flat backing"
    }
    got.lazy_loaded = values["lazy resume, chunks loaded"]
    got.lazy_touched = values["lazy resume, chunks touched"]
    got.save = values["saving RAM"] / 1e6
    got.content = values["saving RAM, content in bytes"]
    got.files = values["saving RAM, files in bytes"]
    got.zstd = _best(["zstd", "-q", "-T0", "-c", str(content)])
    got.sha256 = got.content / (_openssl_rate() * (os.cpu_count() or 1))


def _on_disk(spore: Path, folder: Path, got: Disks) -> None:
    warm = folder / "warm"
    capture = ["run", "--memory", "512M", "--no-flat", "--capture", warm, "--", "true"]
    subprocess.run([spore, *capture], check=True, stderr=subprocess.DEVNULL)
    bundle = folder / "bundle"
    subprocess.run(
        [spore, "pack", "--no-images", warm, "-o", bundle], check=True, stdout=subprocess.DEVNULL
    )
    got.idle = bundle.stat().st_size
    children = folder / "children"
    start = time.perf_counter()
    subprocess.run(
        [spore, "fork", warm, "--count", str(_CHILDREN), "--out", children],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    got.fork = (time.perf_counter() - start) / _CHILDREN
    got.fork_ram_bytes = sum(
        path.stat().st_size for kind in ("*.zst", "ram.img") for path in children.rglob(kind)
    )


def measure(binaries: Path) -> Disks:
    """Everything that is measured about spores on disk."""
    got = Disks()
    with tempfile.TemporaryDirectory(prefix="spore-bench-") as name:
        folder = Path(name)
        _native(binaries / "disk_bench", folder, got)
        _on_disk(binaries / "spore", folder, got)
    return got
