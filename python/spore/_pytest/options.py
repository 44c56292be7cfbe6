"""What the user asked for, checked."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

_UNITS = {"M": 1024**2, "G": 1024**3}
# What a child has of its own before its first test, and some room to run it.
LEAST_PER_CHILD = 16 * 1024**2  # of memory that it alone has; what a new child is taken to need
_MOST_RUNS = 100_000
MOST_SECONDS = 10**9  # that a test may be given; more than can be waited for is an error
SMALLEST_BUDGET = 2 * LEAST_PER_CHILD


@dataclass(frozen=True)
class Settings:
    """The options of a run."""

    children: int
    dist: str  # one of --spore-dist's choices
    engine: str
    memory: int  # bytes
    budget: int | None  # bytes that the children may have of their own
    timings: bool
    cpus: int
    timeout: float | None  # seconds that a test may take
    keep_failed: Path | None  # a directory
    pdb: bool
    repeat: int  # runs of each test
    tears_down: bool
    html: Path | None  # the file of the page


def read_settings(config: pytest.Config) -> Settings:
    """The settings of `config`; a UsageError says what is wrong with them."""
    if config.getoption("numprocesses", None) or config.getoption("tx", None):
        raise pytest.UsageError(
            "--spore-fork and pytest-xdist's -n both distribute the tests: use one of them"
        )
    if config.getoption("usepdb", False) or config.getoption("trace", False):
        raise pytest.UsageError(
            "--spore-fork: --pdb and --trace need a terminal that all children would share: use"
            " --spore-pdb, or run the test without --spore-fork"
        )
    repeat = config.getoption("spore_repeat")
    if not 1 <= repeat <= _MOST_RUNS:
        raise pytest.UsageError(f"--spore-repeat={repeat}: give a number from 1 to {_MOST_RUNS}")
    return Settings(
        children=_children(config.getoption("spore_fork")),
        dist=config.getoption("spore_dist") if repeat == 1 else "each",
        engine=config.getoption("spore_engine"),
        memory=parse_size(*_option_or_ini(config, "--spore-memory")),
        budget=_budget(config.getoption("spore_memory_budget")),
        timings=config.getoption("spore_timings"),
        cpus=_cpus(*_option_or_ini(config, "--spore-cpus")),
        timeout=_timeout(config.getoption("spore_timeout")),
        repeat=repeat,
        pdb=config.getoption("spore_pdb"),
        tears_down=config.getoption("spore_teardown") == "run",
        keep_failed=_path(config, config.getoption("spore_keep_failed")),
        html=_new_file("--spore-html", _path(config, config.getoption("spore_html"))),
    )


def runs_here(config: pytest.Config) -> bool:
    """Whether pytest only says something about itself."""
    option = config.option
    return bool(
        option.help or option.version or option.markers or getattr(option, "cacheshow", None)
    )


def runs_whole(config: pytest.Config) -> bool:
    """Whether pytest needs the tests but runs none: it does so in one machine, without forks."""
    option = config.option
    return not runs_here(config) and bool(
        option.collectonly
        or option.showfixtures
        or option.show_fixtures_per_test
        or option.setupplan
        or option.setuponly
    )


def _option_or_ini(config: pytest.Config, option: str) -> tuple[str, str]:
    """What to call a value, and the value: of the command line, else of the ini file."""
    name = option.lstrip("-").replace("-", "_")
    given = config.getoption(name)
    return (name, str(config.getini(name))) if given is None else (option, given)


def _cpus(name: str, text: str) -> int:
    if not re.fullmatch(r"\s*[1-8]\s*", text):
        raise pytest.UsageError(f"{name}={text}: a machine has 1 to 8 CPUs")
    return int(text)


def parse_size(option: str, text: str) -> int:
    """Bytes from a size such as 512M or 2G."""
    match = re.fullmatch(r"(\d{1,9})([MG])(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(match[1]) * _UNITS[match[2].upper()] if match else 0
    if not size:
        raise pytest.UsageError(f"{option}={text}: not a size such as 512M or 2G")
    return size


def _path(config: pytest.Config, text: str | None) -> Path | None:
    return config.invocation_params.dir / Path(text).expanduser() if text else None


def _new_file(option: str, path: Path | None) -> Path | None:
    """Refuses a file that could not be written at the end of the run."""
    if path is None:
        return None
    if path.exists() and not path.is_file():
        raise pytest.UsageError(f"{option}={path}: that is no file")
    try:
        # Permissions alone do not tell: the file system may be read-only, or full.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".spore-"):
            pass
    except OSError as error:
        raise pytest.UsageError(
            f"{option}={path}: no file can be written in {path.parent}: {error.strerror}"
        ) from error
    return path


def _timeout(text: str | None) -> float | None:
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) <= MOST_SECONDS:
            return seconds
    raise pytest.UsageError(f"--spore-timeout={text}: give a number of seconds, such as 60 or 0.5")


def _budget(text: str | None) -> int | None:
    if text is None:
        return None
    budget = parse_size("--spore-memory-budget", text)
    if budget < SMALLEST_BUDGET:
        raise pytest.UsageError(
            f"--spore-memory-budget={text}: too small for one child, which needs"
            f" {SMALLEST_BUDGET // 1024**2}M or more"
        )
    return budget


def _children(text: str) -> int:
    if text == "auto":
        return max(2, os.cpu_count() or 1)
    if not text.isdigit() or not 1 <= int(text) <= 1024:
        raise pytest.UsageError(f"--spore-fork={text}: give a number from 1 to 1024, or auto")
    return int(text)
