"""spore-test beside GoogleTest's own sharding and CTest, with all their processes in the same nest.

There spore-test is emulated as well, and its machines run on the nest's KVM. Root images are made
before anything is measured.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from workers import Cost, Nest


@dataclass(frozen=True)
class Measured:
    """What spore-test costs, and what it is measured against."""

    load: Cost
    load_warm: Cost
    shards: Cost
    each: Cost
    ctest: Cost
    tests: int  # that CTest and `each` ran
    fixture: Cost
    fixture_warm: Cost
    fixture_shards: Cost


def _in_shards(program: Path, count: int) -> str:
    """GoogleTest's sharding, all shards at once."""
    shards = (
        f"GTEST_TOTAL_SHARDS={count} GTEST_SHARD_INDEX={index} {program} --gtest_brief=1 &"
        for index in range(count)
    )
    return f"{{ {' '.join(shards)} wait; }} > /dev/null"


def _ctest_entries(program: Path, directory: Path, suite: str, tests: int) -> None:
    """What gtest_discover_tests() would write: a process for each test."""
    listed = subprocess.run(
        [program, "--gtest_list_tests", f"--gtest_filter={suite}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    names, group = [], ""
    for line in listed:
        name = line.split("#")[0].rstrip()
        if name.startswith("  "):
            names.append(group + name.strip())
        elif name.endswith("."):
            group = name
    entries = [f'add_test("{name}" "{program}" "--gtest_filter={name}")' for name in names[:tests]]
    (directory / "CTestTestfile.cmake").write_text("\n".join(entries) + "\n")


def measure(programs: Path, *, tests: int = 200) -> Measured:
    short, fixture = programs / "bench_gtest_short", programs / "bench_gtest_global"
    ours = f"{programs / 'spore-test'} --engine=kvm"
    some = ":".join(f"*/{number}" for number in range(tests))
    with tempfile.TemporaryDirectory() as directory, Nest(programs / "spore", directory) as nest:

        def run(options: str, program: Path, *flags: str) -> Cost:
            return nest.command(
                f"{ours} {options} {program} {' '.join(flags)} > /dev/null", options
            )

        run("--spore-fresh --jobs=1", short, "--gtest_filter=*/0")  # makes the images
        run("--spore-fresh --jobs=1", fixture, "--gtest_list_tests")
        _ctest_entries(short, Path(directory), "*", tests)
        return Measured(
            load=run("--spore-fresh --jobs=2 --spore-dist=load", short),
            load_warm=run("--jobs=2 --spore-dist=load", short),
            shards=nest.command(_in_shards(short, 2), "two shards"),
            each=run("--jobs=2 --spore-dist=each", short, f"--gtest_filter='{some}'"),
            ctest=nest.command(f"ctest --test-dir {directory} -j2 > /dev/null", "ctest -j2"),
            tests=tests,
            fixture=run("--spore-fresh --jobs=8 --spore-dist=shard", fixture),
            fixture_warm=run("--jobs=8 --spore-dist=shard", fixture),
            fixture_shards=nest.command(_in_shards(fixture, 8), "eight shards"),
        )
