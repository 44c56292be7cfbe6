"""`./dev bench`: measures Spore beside what it is measured against, in the same run.

Prints a table and writes build/bench.json: a list of {name, where, value, unit, target, met}.
Performance is stated as ratios: machines differ and are noisy, ratios of one run less so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import disks
import gtests
import resets
import spore
import workers

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / "build" / "bin"
MIB = 1024 * 1024
SKIPPED = 77


@dataclass
class Row:
    """One measurement; `met` is None where there is no target."""

    name: str
    where: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None


def at_most(name: str, where: str, value: float, unit: str, limit: float) -> Row:
    return Row(name, where, value, unit, f"at most {limit:g}", value <= limit)


def at_least(name: str, where: str, value: float, unit: str, limit: float) -> Row:
    return Row(name, where, value, unit, f"at least {limit:g}", value >= limit)


def run_program(name: str) -> dict[tuple[str, int], dict[str, float]]:
    """What a program of this folder measured; nothing where there is no KVM for it."""
    done = subprocess.run([BIN / name], capture_output=True, text=True, check=False)
    if done.returncode == SKIPPED:
        print(f"native measurements skipped: {done.stderr.strip()}", file=sys.stderr)
        return {}
    if done.returncode != 0:
        sys.exit(f"bench: {name} ended with status {done.returncode}: {done.stderr.strip()}")
    measured = {}
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        measured[entry["name"], entry["memory_mib"]] = entry
    return measured


def native_resets() -> list[Row]:
    """Pooled forks and resets of micro guests."""
    measured = run_program("reset_bench")
    rows = [
        at_most(f"fork from a pooled shell, {mib} MiB, p50", "native", entry["p50_us"], "us", 150)
        for (name, mib), entry in measured.items()
        if name == "fork from a pooled shell"
    ]
    rows += [
        Row(f"  of it: until it may run, {mib} MiB", "native", entry["p50_us"], "us")
        for (name, mib), entry in measured.items()
        if name == "fork from a pooled shell, until it may run"
    ]
    values = {name: entry["p50_us"] for (name, _), entry in measured.items()}
    if not values:
        return []
    fixed = values["reset of 0 pages"]
    rows += [
        at_most("reset, fixed cost, p50", "native", fixed, "us", 60),
        *(
            Row(f"  of it: {part}", "native", values[f"reset, {part}"], "us")
            for part in ("memory", "devices", "vCPU")
        ),
        Row("reset to first exit, p50", "native", values["reset to first exit"], "us"),
    ]
    for pages in (256, 1024, 4096):
        per_page = (values[f"reset of {pages} pages"] - fixed) / pages
        copy = values[f"copy of a page, {pages} of them"]
        rows.append(
            at_most(f"reset, per page / memcpy, {pages} pages", "native", per_page / copy, "x", 3)
        )
    row = values["1000 forks in a row"] / 1000
    rows.append(at_most("1000 forks in a row", "native", row, "ms", 500))
    return rows


def native() -> list[Row]:
    """Micro guests on this host's own /dev/kvm."""
    measured = run_program("fork_bench")
    if not measured:
        return []
    sizes = sorted({size for _, size in measured})
    rows = []
    for size in sizes:
        fork = measured["fork to first exit", size]
        floor = measured["fork to first exit, floor", size]
        destroy = measured["destroy", size]
        rows += [
            Row(f"fork to first exit, {size} MiB, p50", "native", fork["p50_us"], "us"),
            Row(f"fork to first exit, {size} MiB, p99", "native", fork["p99_us"], "us"),
            Row(f"bare ioctls to first exit, {size} MiB, p50", "native", floor["p50_us"], "us"),
            Row(
                f"beyond bare ioctls, {size} MiB", "native", fork["p50_us"] - floor["p50_us"], "us"
            ),
            at_most(
                f"fork / bare ioctls, {size} MiB",
                "native",
                fork["p50_us"] / floor["p50_us"],
                "x",
                1.25,
            ),
            at_most(f"destroy, {size} MiB, p50", "native", destroy["p50_us"], "us", 1000),
            at_most(
                f"fork and destroy, {size} MiB, p99",
                "native",
                fork["p99_us"] + destroy["p99_us"],
                "us",
                1000,
            ),
            Row(
                f"  the same of bare ioctls, {size} MiB",
                "native",
                floor["p99_us"] + measured["destroy, floor", size]["p99_us"],
                "us",
            ),
        ]
    # Where the time goes, in Spore and in the floor.
    rows += [
        Row(f"  {name}, {size} MiB", "native", entry["p50_us"], "us")
        for (name, size), entry in measured.items()
        if ": " in name and size == sizes[0]
    ]

    def growth(name: str) -> float:
        small, large = (measured[name, size]["p50_us"] for size in (sizes[0], sizes[-1]))
        return large / small

    span = f"{sizes[-1]} MiB / {sizes[0]} MiB"
    rows += [
        at_most(f"fork, {span}", "native", growth("fork to first exit"), "x", 1.3),
        Row(f"  bare ioctls, {span}", "native", growth("fork to first exit, floor"), "x"),
    ]
    return rows


def median(values: list[float]) -> float:
    return statistics.median(values)


def captures(session: spore.Session, images: list[spore.Image], mib: int) -> tuple[float, float]:
    """Boot to agent and the pause of a capture, both medians in seconds."""
    with session.boot(memory=mib * MIB, images=images) as machine:
        boot = machine.boot_timings.agent_ready_us / 1e6
        pauses = [machine.capture(keep_running=True).timings.pause_us / 1e6 for _ in range(9)]
    return boot, median(pauses)


def nest() -> list[Row]:
    """Linux guests in the nest."""
    rows = []
    image = spore.build_image(base_system=True)
    with spore.Session.open(engine="nest") as session:
        pauses = {}
        for mib in (128, 2048):
            boot, pauses[mib] = captures(session, [image], mib)
            rows.append(Row(f"boot to agent, {mib} MiB", "nest", boot, "s"))
            rows.append(Row(f"capture pause, {mib} MiB", "nest", pauses[mib] * 1e3, "ms"))
        ratio = pauses[2048] / pauses[128]
        rows.append(at_most("capture pause, 2048 MiB / 128 MiB", "nest", ratio, "x", 1.2))

        with session.boot(memory=512 * MIB, images=[image]) as machine:
            captured = machine.capture()
        forks = []
        for _ in range(12):
            (child,) = captured.fork(1)
            with child:
                timings = child.fork_timings
                forks.append((timings.build_us + timings.agent_us + timings.user_us) / 1e6)
        children = captured.fork(8)
        private = median([child.stats().private_bytes / MIB for child in children])
        for child in children:
            child.close()
    fork = median(forks)
    rows.append(Row("fork to first reply of the agent", "nest", fork * 1e3, "ms"))
    rows.append(at_most("private memory per idle child", "nest", private, "MiB", 4))

    qemu = median(qemu_restores())
    rows.append(Row("QEMU microvm, restore to first output", "nest", qemu * 1e3, "ms"))
    rows.append(at_least("QEMU restore / fork to first reply", "nest", qemu / fork, "x", 10))
    return rows + nest_resets(qemu)


def nest_resets(qemu: float) -> list[Row]:
    """A clean machine for every test; `qemu` is QEMU's restore, in seconds."""
    got = resets.measure(BIN / "spore")
    return [
        Row("Python fixture, fork to its answer", "nest", got.fork * 1e3, "ms"),
        Row("Python fixture, reset to its answer", "nest", got.reset * 1e3, "ms"),
        Row("  of it: the host's part", "nest", got.reset_host * 1e3, "ms"),
        Row("  pages put back", "nest", got.pages, "pages"),
        at_least("fork / reset", "nest", got.fork / got.reset, "x", 10),
        at_least("QEMU restore / reset", "nest", qemu / got.reset, "x", 50),
        at_most("private memory, 100 alive", "nest", got.private / MIB, "MiB", 8),
        Row("capture of a layer, 2 MiB written", "nest", got.layer_large * 1e3, "ms"),
        Row("capture of a layer, 16 MiB written", "nest", got.layer_more * 1e3, "ms"),
        at_most(
            "capture of a layer, 2048 MiB / 128 MiB",
            "nest",
            got.layer_large / got.layer_small,
            "x",
            1.3,
        ),
        Row("--spore-dist=each, per test", "nest", got.each * 1e3, "ms"),
        Row("pytest-forked, per test", "nest", got.forked * 1e3, "ms"),
        at_most("each / pytest-forked", "nest", got.each / got.forked, "x", 3),
    ]


def disk() -> list[Row]:
    """Spores on disk: micro guests natively, an idle Linux machine in the nest."""
    got = disks.measure(BIN)
    rows = [
        at_most("fork on disk, each of 1000", "host", got.fork * 1e3, "ms", 1),
        at_most("  RAM that they wrote", "host", got.fork_ram_bytes, "bytes", 0),
        at_most("idle 512 MiB Linux, packed", "nest", got.idle / MIB, "MiB", 26e6 / MIB),
    ]
    if got.resume is None:
        return rows
    sizes = sorted(got.resume)
    large, small = got.resume[sizes[-1]], got.resume[sizes[0]]
    allowed = got.zstd + got.sha256
    rows += [
        *(
            Row(f"resume from the flat backing, {size} MiB", "native", got.resume[size] * 1e3, "ms")
            for size in sizes
        ),
        at_most(f"resume, {sizes[-1]} MiB / {sizes[0]} MiB", "native", large / small, "x", 1.3),
        at_most(
            "lazy resume, chunks loaded / touched",
            "native",
            got.lazy_loaded / got.lazy_touched,
            "x",
            1.2,
        ),
        Row("RAM to disk", "native", got.content / MIB / got.save, "MiB/s"),
        Row("  zstd -T0 of the same", "native", got.content / MIB / got.zstd, "MiB/s"),
        Row("  SHA-256 on all cores", "native", got.content / MIB / got.sha256, "MiB/s"),
        at_least("speed of what zstd and SHA-256 allow", "native", allowed / got.save, "x", 0.7),
    ]
    return rows


def beside_xdist() -> list[Row]:
    """The pytest plugin and pytest-xdist, both inside the nest."""
    try:
        got = workers.measure(BIN / "spore")
    except workers.SuiteError as error:
        print(f"not measured beside pytest-xdist: {error}", file=sys.stderr)
        return []

    def ratio(ours: float, theirs: float, name: str, limit: float) -> Row:
        return at_most(name, "nest", ours / theirs, "x", limit)

    many, fixture = "5,000 tests", "10 s session fixture"
    four, four_xdist = got.many_four, got.many_four_xdist
    return [
        Row(f"{many}, 4 children", "nest", four.wall, "s"),
        Row(f"{many}, pytest -n 4", "nest", four_xdist.wall, "s"),
        ratio(four.wall, four_xdist.wall, f"{many}, 4 children / -n 4, wall", 0.7),
        ratio(four.cpu, four_xdist.cpu, f"{many}, 4 children / -n 4, CPU", 0.5),
        ratio(got.many_two.wall, got.many_two_xdist.wall, f"{many}, 2 children / -n 2", 1.15),
        ratio(got.many_two_warm.wall, got.many_two_xdist.wall, "  the same, warm start", 0.7),
        ratio(got.fixture.wall, got.fixture_xdist.wall, f"{fixture}, 8 / -n 8, wall", 0.5),
        ratio(got.fixture.cpu, got.fixture_xdist.cpu, f"{fixture}, 8 / -n 8, CPU", 0.25),
        at_least(
            f"{fixture}, plain / warm start",
            "nest",
            got.first_plain.wall / got.first_warm.wall,
            "x",
            10,
        ),
        Row("short test, 2 children", "nest", got.short * 1e3, "ms"),
        Row("short test, pytest -n 2", "nest", got.short_xdist * 1e3, "ms"),
        ratio(got.short, got.short_xdist, "short test, 2 children / -n 2", 1.2),
    ]


def beside_gtest() -> list[Row]:
    """spore-test, GoogleTest's own sharding and CTest, all inside the nest."""
    got = gtests.measure(BIN)

    def ratio(ours: float, theirs: float, name: str, limit: float) -> Row:
        return at_most(name, "nest", ours / theirs, "x", limit)

    short, fixture = "1,000 tests of 10 ms", "20 s environment"
    each, ctest = got.each.wall / got.tests, got.ctest.wall / got.tests
    return [
        Row(f"{short}, 2 shards of the binary", "nest", got.shards.wall, "s"),
        ratio(got.load.wall, got.shards.wall, f"{short}, load / 2 shards", 1.3),
        ratio(got.load_warm.wall, got.shards.wall, "  the same, warm start", 1.3),
        Row("--spore-dist=each, per test", "nest", each * 1e3, "ms"),
        ratio(each, ctest, "each / a process per test, ctest -j2", 1),
        Row(f"{fixture}, 8 shards of the binary", "nest", got.fixture_shards.wall, "s"),
        ratio(got.fixture.wall, got.fixture_shards.wall, f"{fixture}, 8 / 8 shards, wall", 0.5),
        ratio(got.fixture.cpu, got.fixture_shards.cpu, f"{fixture}, 8 / 8 shards, CPU", 0.25),
        Row(
            "  warm start / 8 shards, wall",
            "nest",
            got.fixture_warm.wall / got.fixture_shards.wall,
            "x",
        ),
    ]


def qemu_restores() -> list[float]:
    kernels = sorted(Path("/boot").glob("vmlinuz-*"), key=lambda path: path.stat().st_mtime)
    script = [
        sys.executable,
        str(ROOT / "bench" / "qemu_restore.py"),
        str(kernels[-1]),
        str(BIN / "heartbeat"),
    ]
    environment = ["--env", f"PATH={os.environ['PATH']}"]
    done = subprocess.run(
        [BIN / "spore", "nest", "exec", *environment, "--", *script],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"bench: QEMU's restore could not be measured: {done.stderr.strip()}")
    return [float(value) for value in json.loads(done.stdout)]


def table(rows: list[Row]) -> str:
    marks = {True: "met", False: "MISSED", None: ""}
    lines = [f"{'what':44} {'where':7} {'value':>10} {'unit':5} {'target':14}"]
    lines += [
        f"{row.name:44} {row.where:7} {row.value:10.2f} {row.unit:5} {row.target:14} "
        + marks[row.met]
        for row in rows
    ]
    return "\n".join(lines)


PARTS = {
    "native": native,
    "resets": native_resets,
    "disk": disk,
    "nest": nest,
    "xdist": beside_xdist,
    "gtest": beside_gtest,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev bench")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all")
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]!r}, only {', '.join(PARTS)}")
    os.environ.setdefault("SPORE_BIN", str(BIN / "spore"))
    print(f"{platform.platform()}, {os.cpu_count()} CPUs")
    rows = [row for part in parts for row in PARTS[part]()]
    print(table(rows))
    written = ROOT / "build" / "bench.json"
    partial = written.with_suffix(".partial")
    partial.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    partial.replace(written)
    print(f"written to {written.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
