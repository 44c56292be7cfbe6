"""What pytest in the machine needs of this host: images, command and environment."""

from __future__ import annotations

import fnmatch
import functools
import os
import shlex
import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from spore._pytest import base_image, coverage_data, sources
from spore._pytest.early import Waiting
from spore._pytest.guest import GUEST_VARIABLE
from spore._pytest.homecoming import written_files
from spore._pytest.waiting import COMMAND, PYTEST

# Variables that name something of this host: sockets, terminals, displays, sessions, places of
# temporary files, and Spore's own settings.
_HOST_ONLY = frozenset(
    """
    _ DBUS_SESSION_BUS_ADDRESS DISPLAY DOCKER_HOST GPG_AGENT_INFO INVOCATION_ID JOURNAL_STREAM
    LD_PRELOAD LISTEN_FDNAMES LISTEN_FDS LISTEN_PID NOTIFY_SOCKET OLDPWD PYTEST_CURRENT_TEST
    PYTEST_VERSION SHLVL STY TEMP TMP TMPDIR TMUX TMUX_PANE WAYLAND_DISPLAY WINDOWID XAUTHORITY
    """.split()  # noqa: SIM905
)
_HOST_ONLY_PREFIXES = ("PYTEST_XDIST_", "SPORE_", "SSH_", "SYSTEMD_", "XDG_RUNTIME", "XDG_SESSION")

# Of a project: histories, caches and virtual environments. The interpreter's own environment is in
# the environment image in any case.
_NOT_OF_A_PROJECT = (
    ".git",
    ".hg",
    ".svn",
    ".tox",
    ".nox",
    ".venv",
    ".cache",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
)

_FORK = "--spore-fork"
_OF_THE_CONTROLLER = (
    "--spore-fresh",
    "--spore-timings",
    "--spore-html=",
    "--spore-memory-budget=",
)

_START = """set -e
mkdir -p "$HOME" "$1"
cd "$1"
shift
{setup}
exec "$@"
"""


@dataclass(frozen=True)
class ImagePlan:
    """One root image: the keyword arguments of spore.build_image, and what to call it.

    `given` is there already, and takes no arguments. `late`: the machine can be up before it comes.
    """

    name: str
    arguments: Mapping[str, object]
    given: base_image.GivenImage | None = None
    late: bool = False


def plan_images(config: pytest.Config) -> list[ImagePlan]:
    """The root images, the lowest first; what changes seldom lies below what changes often."""
    root = config.rootpath.resolve()
    if root == Path(root.anchor):
        raise pytest.UsageError(
            f"--spore-fork: the root directory of the tests is {root}, and the whole host cannot be"
            " put into an image: give the project's with --rootdir"
        )
    covered = _environment_paths()
    edited = [path for path in sources.editable_sources() if not _is_below(path, covered)]
    plans = _base_plans(config)
    interpreter = {
        "pythons": [sys.executable],
        "base_system": not plans,
        "excludes": _apart_from_environment([root, *edited]),
    }
    plans.append(ImagePlan("environment", interpreter))
    imports = _import_paths()
    project = [
        *sources.with_neighbours(root),
        *(path for path in imports if _is_below(root, [path])),
        *edited,
        *_named_paths(config, root),
        *sources.configuration(config),
    ]
    project = [path for path in project if path != Path("/") and not _is_below(path, covered)]
    excludes = _excludes(config)
    programs, paths = _extras(config)
    search_path = guest_environment(config, os.environ).get("LD_LIBRARY_PATH", "")
    for path in [*imports, *edited, *sources.libraries(search_path)]:
        left_out = any(fnmatch.fnmatchcase(str(path), pattern) for pattern in excludes)
        if left_out or not _is_below(path, project):
            paths.append(str(path))
    if paths or programs:
        extra = {"paths": _unique(paths), "programs": _unique(programs)}
        plans.append(ImagePlan("extra paths", extra))
    arguments = {"paths": _outermost(project), "excludes": excludes}
    plans.append(ImagePlan("project", arguments, late=True))
    return plans


def _base_plans(config: pytest.Config) -> list[ImagePlan]:
    """The image that spore_image names; then the base system is not this host's."""
    base = base_image.find(config)
    if base is None:
        return []
    if isinstance(base, base_image.GivenImage):
        return [ImagePlan("base system", {}, base)]
    return [ImagePlan("base system", {"mounts": [(str(base), "/")]})]


def guest_environment(config: pytest.Config, environment: Mapping[str, str]) -> dict[str, str]:
    """The user's environment, without what means nothing in a machine, or is not wanted there."""
    unwanted = config.getini("spore_env_exclude")
    result = {
        name: value
        for name, value in environment.items()
        if name not in _HOST_ONLY
        and not name.startswith(_HOST_ONLY_PREFIXES)
        and not any(fnmatch.fnmatchcase(name, pattern.strip()) for pattern in unwanted)
    }
    result.setdefault("PATH", os.defpath)
    result.setdefault("HOME", "/root")
    for line in config.getini("spore_env"):
        name, separator, value = line.partition("=")
        if not separator or not name.strip():
            raise pytest.UsageError(f"spore_env: {line!r} is not NAME=VALUE")
        result[name.strip()] = value
    return coverage_data.guest_variables(config, result)


def guest_command(config: pytest.Config) -> list[str]:
    """The command that runs pytest in the machine, with the arguments that it was given here."""
    how = ["-m", "pytest"] if _is_module() else ["-c", PYTEST]
    setup = "\n".join(config.getini("spore_setup"))
    return _start(config, setup, [*_python_command(), *how, *_guest_arguments(config)])


def plan_waiting(config: pytest.Config) -> Waiting | None:
    """The interpreter that can be up before the project is there; None if nothing may precede it.

    That is so where shell commands come first, where its first imports are measured, and where the
    project has a module that Python imports when it starts.
    """
    if config.getini("spore_setup") or coverage_data.measures(config) or _has_customization():
        return None
    # Python looks for them when it starts.
    folders = [path for path in [*_import_paths(), *sources.editable_sources()] if path.is_dir()]
    setup = shlex.join(["mkdir", "-p", *map(str, folders)]) if folders else ""
    return Waiting(
        _start(config, setup, [*_python_command(), "-c", COMMAND]),
        {
            "type": "begin",
            "directory": str(config.invocation_params.dir),
            "arguments": _guest_arguments(config),
            "module": _is_module(),
        },
        functools.partial(sources.digest_of_conftests, config, _NOT_OF_A_PROJECT),
    )


def _has_customization() -> bool:
    covered = _environment_paths()
    modules = [sys.modules.get(name) for name in ("sitecustomize", "usercustomize")]
    files = [getattr(module, "__file__", None) for module in modules]
    # By the place where it is found: Debian's is a link to /etc.
    places = [Path(os.path.realpath(os.path.dirname(file))) for file in files if file]
    return any(not _is_below(place, covered) for place in places)


def _start(config: pytest.Config, setup: str, command: Sequence[str]) -> list[str]:
    directory = str(config.invocation_params.dir)
    return ["/bin/sh", "-c", _START.format(setup=setup), "spore-setup", directory, *command]


def _guest_arguments(config: pytest.Config) -> list[str]:
    """Arguments that mean something in the machine: what only the controller reads is left out.

    A value in a word of its own stays, with its option: it might belong to another one.
    """
    arguments = map(str, config.invocation_params.args)
    kept = [one for one in arguments if not one.startswith(_OF_THE_CONTROLLER)]
    return [f"{_FORK}=auto" if one.startswith(f"{_FORK}=") else one for one in kept]


def guest_variables(*, whole: bool) -> dict[str, str]:
    """What tells the plugin in the machine which part it plays.

    `whole`: it says everything itself, as without the plugin; else it reports to the controller.
    """
    return {GUEST_VARIABLE: "whole" if whole else "fork"}


def _environment_paths() -> list[Path]:
    """What the image of the interpreter holds."""
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= set(site.getsitepackages())
    if sys.prefix != sys.base_prefix:
        paths.add(sys.prefix)
    return [Path(path).resolve() for path in sorted(paths)]


def _import_paths() -> list[Path]:
    """Directories from which this process imports, outside the interpreter's environment."""
    covered = _environment_paths()
    script = Path(sys.argv[0]).resolve().parent  # Python puts it there; nothing is imported from it
    existing = (Path(entry).resolve() for entry in sys.path if entry and Path(entry).exists())
    left_out = (script, Path("/"))
    return [path for path in existing if path not in left_out and not _is_below(path, covered)]


def _excludes(config: pytest.Config) -> list[str]:
    directories = [f"*/{name}" for name in _NOT_OF_A_PROJECT]
    roots = {config.rootpath, config.rootpath.resolve()}
    directories += [
        str(root / entry) for root in sorted(roots) for entry in config.getini("spore_exclude")
    ]
    if sys.prefix != sys.base_prefix:
        directories.append(str(Path(sys.prefix).resolve()))
    directories += [*_output_files(), *written_files(config)]
    base = base_image.place(config)
    if base is not None:
        directories += {str(base), str(base.resolve())}
    return [pattern for name in directories for pattern in (name, f"{name}/*")]


def _apart_from_environment(directories: list[Path]) -> list[str]:
    """Patterns that keep `directories` out of the interpreter's image.

    With PYTHONPATH the project is a part of the environment, and so is what is installed to be
    edited: every change would make the large image anew. A virtual environment inside stays.
    """
    prefixes = [Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)]
    patterns: list[str] = []
    for directory in map(Path, _outermost(directories)):
        apart = [directory]
        if any(_is_below(prefix, [directory]) for prefix in prefixes):
            apart = [
                child
                for child in sorted(directory.iterdir())
                if not any(_is_below(prefix, [child]) for prefix in prefixes)
            ]
        patterns += [pattern for path in apart for pattern in (str(path), f"{path}/*")]
    return patterns


def _output_files() -> list[str]:
    """Files that this run prints into: they grow while an image is made of the project."""
    targets = (Path(f"/proc/self/fd/{stream}") for stream in (1, 2))
    return [os.readlink(target) for target in targets if target.is_file()]


def _python_command() -> list[str]:
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [sys.executable, *flags]


def _is_module() -> bool:
    """Whether pytest was started by `python -m`, which makes the working directory importable."""
    return Path(sys.argv[0]).name == "__main__.py"


def _extras(config: pytest.Config) -> tuple[list[str], list[str]]:
    """The programs and the other paths that spore_paths names."""
    programs: list[str] = []
    paths: list[str] = []
    for line in config.getini("spore_paths"):
        for entry in shlex.split(line):
            path = config.rootpath / os.path.expanduser(entry)
            if "/" not in entry and not path.exists():
                programs.append(entry)
                continue
            if not path.exists():
                raise pytest.UsageError(f"spore_paths: there is no {path}")
            executable = path.is_file() and os.access(path, os.X_OK)
            (programs if executable else paths).append(str(path))
    return programs, paths


def _named_paths(config: pytest.Config, root: Path) -> list[Path]:
    """Directories and test files that the command line names, and where it was given.

    By a symbolic link too, where it goes through one: pytest in the machine is told the same names.
    """
    here = config.invocation_params.dir
    found = [Path(os.path.abspath(config.rootpath)), here.resolve()]
    for argument in config.args:
        path = here / argument.split("::")[0]
        if not path.exists():
            continue
        found.append(Path(os.path.abspath(path)))
        resolved = path.resolve()
        found += [resolved] if _is_below(resolved, [root]) else sources.with_neighbours(resolved)
    return found


def _is_below(path: Path, directories: Iterable[Path]) -> bool:
    return any(directory == path or directory in path.parents for directory in directories)


def _outermost(paths: list[Path]) -> list[str]:
    return _unique(str(path) for path in paths if not any(other in path.parents for other in paths))


def _unique(entries: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(entries))
