"""pytest-xdist beside --spore-fork, both with all their processes in the same nest.

There the controller of --spore-fork is emulated as well, and its machines run on the nest's KVM.
Root images are there before anything is measured, as the packages are that xdist's workers import:
what is left of them, to find that nothing has changed, is told apart and not counted. The nest
reads this host's files through 9p, which makes thousands of stat() calls dear.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

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

_PLAIN = ("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:cov")
_OURS = ("-p", "no:xdist", "--spore-engine=kvm", "--spore-memory=512M")


@dataclass(frozen=True)
class Cost:
    """Of one run, in seconds."""

    wall: float
    cpu: float


class Nest:
    """Runs pytest in the nest, in a directory with one suite."""

    def __init__(self, program: Path, directory: str) -> None:
        self._program = program
        self._directory = directory

    def write(self, suite: str) -> None:
        Path(self._directory, "test_it.py").write_text(suite)

    def run(self, *arguments: str) -> Cost:
        """What one run costs, all its processes and machines included."""
        command = " ".join([sys.executable, "-m", "pytest", *_PLAIN, *arguments])
        look = "cut -d' ' -f1 /proc/uptime; head -n 1 /proc/stat"
        # pytest's temporary files do not work on the nest's root, which is the host's.
        script = f"cd {self._directory} && export TMPDIR=/run; {look}; {command}; {look}"
        given = {"SPORE_BIN": str(self._program), "SPORE_CACHE_DIR": os.environ["SPORE_CACHE_DIR"]}
        variables = [f"--env={name}={value}" for name, value in given.items()]
        done = subprocess.run(
            [self._program, "nest", "exec", *variables, "--", "sh", "-c", script],
            capture_output=True,
            text=True,
            check=False,
        )
        if " passed" not in done.stdout:
            sys.exit(f"bench: a suite did not pass in the nest: {done.stdout}{done.stderr}")
        started, ended = (float(line) for line in re.findall(r"^(\d+\.\d+)$", done.stdout, re.M))
        before, after = (
            sum(float(ticks) for ticks in [*line.split()[:3], *line.split()[5:8]])
            for line in re.findall(r"^cpu +(.*)$", done.stdout, re.M)
        )
        images = re.search(r"^images: +([0-9.]+) s", done.stdout, re.M)
        apart = float(images[1]) if images is not None else 0.0
        ticks_per_second = os.sysconf("SC_CLK_TCK")
        return Cost(ended - started - apart, (after - before) / ticks_per_second - apart)

    def ours(self, children: int, *arguments: str) -> Cost:
        return self.run(f"--spore-fork={children}", *_OURS, *arguments)

    def xdist(self, workers: int) -> Cost:
        return self.run(f"-n{workers}")


@dataclass(frozen=True)
class Measured:
    """Ratios of --spore-fork to what it is measured against, and the seconds behind them."""

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
        nest = Nest(program, directory)
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
