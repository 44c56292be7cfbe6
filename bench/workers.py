"""pytest-xdist beside --spore-fork, both with all their processes in the same nest.

There the controller of --spore-fork is emulated as well, and its machines run on the nest's KVM.
What Python and root images are made of is copied into the nest's memory first: through 9p, which
brings this host's files, each stat() costs milliseconds, on either side. Root images are
made before anything is measured, as the packages are installed that xdist's workers import.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

import spore

_HEAVY = """
import asyncio, concurrent.futures, csv, decimal, email.mime.multipart, fractions, http.server
import logging.config, multiprocessing, pydoc, sqlite3, ssl, statistics, tarfile, unittest.mock
import urllib.request, xml.dom.minidom, xmlrpc.client, zipfile
import numpy
import pytest

@pytest.mark.parametrize("number", range(%d))
def test_one(number):
    assert number >= 0
"""

_FIXTURE = """
import time
import pytest

@pytest.fixture(scope="session")
def prepared():
    end = time.process_time() + %d
    while time.process_time() < end:
        pass
    return 1

@pytest.mark.parametrize("number", range(%d))
def test_one(number, prepared):
    assert prepared
"""

_SHORT = """
import pytest

@pytest.mark.parametrize("number", range(%d))
def test_one(number):
    assert number >= 0
"""

_COPIES = "/run/bench"
_READ = (
    sys.prefix,
    sysconfig.get_path("stdlib"),
    str(Path(spore.__file__).parent),
    *("/usr/bin", "/usr/sbin", "/usr/lib/python3"),
    f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}",
    *("/usr/share/zoneinfo", "/usr/share/ca-certificates", "/etc/ssl"),
)
_PLAIN = ("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:cov")
_OURS = ("-p", "no:xdist", "--spore-engine=kvm", "--spore-memory=512M")


class SuiteError(Exception):
    """There is nothing to compare."""


@dataclass(frozen=True)
class Cost:
    """Of one run, in seconds."""

    wall: float
    cpu: float


class Nest:
    """Runs commands in the nest, in a directory with one suite."""

    def __init__(self, program: Path, directory: str) -> None:
        self._program = program
        self._directory = directory

    def write(self, suite: str) -> None:
        Path(self._directory, "test_it.py").write_text(suite)

    def run(self, *arguments: str) -> Cost:
        """What one run of pytest costs."""
        command = " ".join([sys.executable, "-m", "pytest", *_PLAIN, *arguments])
        return self.command(command, " ".join(arguments))

    def command(self, command: str, name: str) -> Cost:
        """What a command costs, all its processes and machines included."""
        look = "cut -d' ' -f1 /proc/uptime; head -n 1 /proc/stat"
        # pytest's temporary files do not work on the nest's root, which is the host's.
        script = f"cd {self._directory} && export TMPDIR=/run; {look}; {command} || exit; {look}"
        output = self._sh(script)
        started, ended = (float(line) for line in re.findall(r"^(\d+\.\d+)$", output, re.M))
        before, after = (
            sum(float(ticks) for ticks in [*line.split()[:3], *line.split()[5:7]])
            for line in re.findall(r"^cpu +(.*)$", output, re.M)
        )
        cost = Cost(ended - started, (after - before) / os.sysconf("SC_CLK_TCK"))
        print(f"  {name}: {cost.wall:.1f} s, CPU {cost.cpu:.1f} s", file=sys.stderr)
        return cost

    def _sh(self, script: str) -> str:
        given = {"SPORE_BIN": str(self._program), "SPORE_CACHE_DIR": os.environ["SPORE_CACHE_DIR"]}
        variables = [f"--env={name}={value}" for name, value in given.items()]
        done = subprocess.run(
            [self._program, "nest", "exec", *variables, "--", "sh", "-c", script],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SuiteError(f"a command failed in the nest: {done.stdout}{done.stderr}")
        return done.stdout

    def __enter__(self) -> Nest:
        self._stop()  # it may hold the copies of a run that was killed
        try:
            with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
                subprocess.run(["tar", "-cPf", archive.name, *_READ], check=True)
                self._sh(f"mkdir -p {_COPIES} && tar -xf {archive.name} -C {_COPIES}")
            for place in _READ:
                self._sh(f"mount --bind {_COPIES}{place} {place}")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        """Nobody else is to see copies that do not change with this host's files."""
        subprocess.run([self._program, "nest", "stop"], check=True, stdout=subprocess.DEVNULL)

    def ours(self, children: int, *arguments: str) -> Cost:
        return self.run(f"--spore-fork={children}", *_OURS, *arguments)

    def xdist(self, workers: int) -> Cost:
        return self.run(f"-n{workers}")


@dataclass(frozen=True)
class Measured:
    """What --spore-fork costs, and what it is measured against."""

    many_four: Cost
    many_four_xdist: Cost
    many_two: Cost
    many_two_warm: Cost
    many_two_xdist: Cost
    fixture: Cost
    fixture_xdist: Cost
    first_warm: Cost
    first_plain: Cost
    short: float  # seconds for a test
    short_xdist: float


def measure(program: Path, *, many: int = 5000, seconds: int = 10, short: int = 500) -> Measured:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "pytest.ini").write_text("[pytest]\n")
        with Nest(program, directory) as nest:
            nest.write(_SHORT % 1)
            nest.ours(1)  # makes the images
            one, one_xdist = nest.ours(2, "--spore-fresh"), nest.xdist(2)
            nest.write(_SHORT % short)
            all_of_them, all_xdist = nest.ours(2, "--spore-fresh"), nest.xdist(2)
            nest.write(_HEAVY % many)
            four, four_xdist = nest.ours(4, "--spore-fresh"), nest.xdist(4)
            two, two_xdist = nest.ours(2, "--spore-fresh"), nest.xdist(2)
            two_warm = nest.ours(2)
            nest.write(_FIXTURE % (seconds, 8))
            fixture, fixture_xdist = nest.ours(8, "--spore-fresh"), nest.xdist(8)
            nest.write(_FIXTURE % (seconds, 1))
            nest.ours(1)
            first_warm, first_plain = nest.ours(1), nest.run()
    return Measured(
        four,
        four_xdist,
        two,
        two_warm,
        two_xdist,
        fixture,
        fixture_xdist,
        first_warm,
        first_plain,
        (all_of_them.wall - one.wall) / (short - 1),
        (all_xdist.wall - one_xdist.wall) / (short - 1),
    )


if __name__ == "__main__":
    sizes = dict(zip(("many", "seconds", "short"), map(int, sys.argv[1:])))
    measured = measure(Path(os.environ["SPORE_BIN"]), **sizes)
    print(json.dumps(vars(measured), indent=1, default=vars))
