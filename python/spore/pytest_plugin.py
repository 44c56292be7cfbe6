"""The pytest plugin: options, ini values and what tests may ask for, only.

Nothing of the engine is imported unless it is used: a run without --spore-fork pays for parsing
these options and no more.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from spore._pytest.checkpoint import Checkpoint
    from spore._pytest.options import Settings
    from spore._pytest.spore_child import SporeChild

_FORK = "--spore-fork"
_MARK = (
    "spore(timeout=SECONDS, alone=True): with --spore-fork, how long the test may take, whatever"
    " --spore-timeout says, and whether it has a clean machine of its own, before it and after it."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("spore", "forking a prepared virtual machine")
    group.addoption(
        _FORK,
        nargs="?",
        const="auto",
        metavar="N",
        help="run the tests in N forks of one prepared machine (auto: one per CPU, at least 2);"
        " write --spore-fork=N",
    )
    group.addoption(
        "--spore-dist",
        default="load",
        choices=("load", "loadfile", "loadscope", "loadgroup", "shard", "each"),
        help="load: children take tests as they need them (default); loadfile, loadscope,"
        " loadgroup: tests of a file, of a module or class, or with the same"
        " @pytest.mark.xdist_group stay together; shard: each child has its part from the start;"
        " each: every test runs in a clean machine, put back to the fixture point after the one"
        " before",
    )
    group.addoption(
        "--spore-scope",
        default="session",
        choices=("session", "package", "module", "class"),
        help="capture the machine after each level of fixtures down to this one: tests start where"
        " the fixtures of their package, module or class are set up, once in the whole run"
        " (default: session)",
    )
    group.addoption(
        "--spore-teardown",
        default="run",
        choices=("run", "skip"),
        help="skip: a machine is thrown away as it is, and only fixtures of function scope are torn"
        " down (default: run)",
    )
    group.addoption(
        "--spore-engine",
        default="auto",
        choices=("auto", "kvm", "nest"),
        help="where the machines run (default: auto, the first that works)",
    )
    group.addoption(
        "--spore-memory",
        metavar="SIZE",
        help="memory of each machine, such as 512M or 2G (default: the ini value spore_memory, else"
        " 1G); children share it",
    )
    group.addoption(
        "--spore-memory-budget",
        metavar="SIZE",
        help="host memory that the children may have of their own, all together: when they near it,"
        " fewer run at a time",
    )
    group.addoption(
        "--spore-timeout",
        metavar="SECONDS",
        help="end a test that takes longer, with the stacks of all its threads; the others go on",
    )
    group.addoption(
        "--spore-repeat",
        type=int,
        default=1,
        metavar="N",
        help="run each test N times from the same state, each time in a clean machine, and tell"
        " which are flaky",
    )
    group.addoption(
        "--spore-seed",
        type=int,
        metavar="NUMBER",
        help="seed random, numpy.random and Faker with this in every child, in place of fresh"
        " entropy",
    )
    group.addoption(
        "--spore-keep-failed",
        metavar="DIR",
        help="keep the machine of each failed test in DIR, as it was before any teardown: see"
        " spore run --from",
    )
    group.addoption(
        "--spore-artifacts",
        default="spore-artifacts",
        metavar="DIR",
        help="where the files that tests leave in their spore_artifacts directory are after the run"
        " (default: spore-artifacts), with and without --spore-fork",
    )
    group.addoption(
        "--spore-html",
        metavar="FILE",
        help="write a page about the run: which test ran when in which machine, the tree of forks,"
        " and failures; one file, that needs nothing else",
    )
    group.addoption(
        "--spore-pdb",
        action="store_true",
        help="start pdb where a test fails, in a fork of its machine, as often as wanted",
    )
    group.addoption(
        "--spore-timings",
        action="store_true",
        help="show how long each phase of forks and resets took",
    )
    group.addoption(
        "--spore-cpus",
        metavar="N",
        help="CPUs of each machine, 1 to 8 (default: the ini value spore_cpus, else 1)",
    )
    group.addoption(
        "--spore-fresh",
        action="store_true",
        help="boot and prepare the machine anew, though one of an earlier run is kept that was made"
        " of the same things; it is replaced then (see `spore cache`)",
    )
    group.addoption(
        "--spore-keep-random-state",
        action="store_true",
        help="do not reseed random, numpy.random and Faker in the children",
    )
    parser.addini(
        "spore_memory",
        "memory of each machine, such as 512M or 2G, unless --spore-memory says otherwise",
        default="1G",
    )
    parser.addini(
        "spore_cpus",
        "CPUs of each machine, 1 to 8, unless --spore-cpus says otherwise",
        default="1",
    )
    parser.addini(
        "spore_image",
        "base system of the machine, in place of this host's: a squashfs or erofs file, the"
        " directory of a root file system, or an OCI layout; the Python environment and the project"
        " are laid over it",
    )
    parser.addini(
        "spore_paths",
        "host files, directories and programs (by name or path) that the tests need, besides the"
        " project and the Python environment",
        type="linelist",
        default=[],
    )
    parser.addini(
        "spore_exclude",
        "files and directories below the root directory that the tests do not need",
        type="linelist",
        default=[],
    )
    parser.addini(
        "spore_env",
        "environment variables for the machine, one NAME=VALUE a line",
        type="linelist",
        default=[],
    )
    parser.addini(
        "spore_env_exclude",
        "environment variables that the machine does not get, as patterns, one a line: of those"
        " that differ from run to run, such as CI_*, no run can start from the machine of another",
        type="linelist",
        default=[],
    )
    parser.addini(
        "spore_setup",
        "shell commands to run in the machine before pytest, one a line",
        type="linelist",
        default=[],
    )


@pytest.fixture
def spore_checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    """Captures the machine within a test: `for branch in spore_checkpoint.fork(3):` runs what
    follows in three forks, each with its own branch.index."""
    from spore._pytest.checkpoint import Checkpoint

    return Checkpoint(request.config.pluginmanager.getplugin("spore-guest"))


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from spore._pytest import hooks

    pluginmanager.add_hookspecs(hooks)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    # An optional value would swallow the test path in `pytest --spore-fork tests`.
    separate = [
        index
        for index, argument in enumerate(args)
        if argument == _FORK and index + 1 < len(args) and not _is_count(args[index + 1])
    ]
    for index in separate:
        args[index] = f"{_FORK}=auto"
    if separate:
        early_config.known_args_namespace = parser.parse_known_args(
            args, namespace=argparse.Namespace(**vars(early_config.option))
        )
    if _guest_part():
        from spore._pytest.guest import join

        join(early_config, forks=_guest_part() == "fork")


@pytest.fixture
def spore_artifacts(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory of this test; the files in it are below --spore-artifacts after the run."""
    from spore._pytest.artifacts import open_directory

    with open_directory(request.config, request.node.nodeid) as directory:
        yield directory


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARK)
    if _guest_part() or config.getoption("spore_fork") is None:
        return
    settings = _settings(config)
    if settings is not None:
        from spore._pytest.controller import Controller

        config.pluginmanager.register(Controller(config, settings), "spore-controller")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    if _guest_part() or config.getoption("spore_fork") is None:
        return None
    from spore._pytest.options import runs_whole

    if not runs_whole(config):
        return None
    from spore._pytest.controller import run_whole
    from spore._pytest.options import read_settings

    return run_whole(config, read_settings(config))


@pytest.fixture
def spore_child() -> SporeChild:
    """The machine that the test runs in: its index, count and generation; 0 of 1 without forks."""
    from spore._pytest.spore_child import current

    return current()


def _settings(config: pytest.Config) -> Settings | None:
    """The settings of a forking controller; None where the run does not fork."""
    from spore._pytest.options import read_settings, runs_here, runs_whole

    if runs_here(config) or runs_whole(config):
        return None
    return read_settings(config)


def _guest_part() -> str:
    return os.environ.get("SPORE_PYTEST_GUEST", "")


def _is_count(argument: str) -> bool:
    return argument == "auto" or argument.isdigit()
