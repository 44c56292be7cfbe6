"""What coverage.py measured in the machines, for the coverage.py of this run on the host.

pytest-cov measures in the machine as it does without forks, and reports on the host. What comes
over the channel is numbers, names and contexts, which are checked; not the data base that
coverage.py itself would send, which the host would have to execute.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import pytest

from spore._pytest import frames

if TYPE_CHECKING:
    from coverage import Coverage, CoverageData

    from spore._pytest.transfer import Send

    Numbers = Union[set[int], set[tuple[int, int]]]

_DATA_FILE = "/tmp/spore-coverage/.coverage"  # in a machine
_NUMBERS_OF_FRAME = 50_000
_LONGEST_NAME = 4096
_LAST_LINE = 1_000_000
_MOST_PENDING = 200_000  # numbers in memory, before they are written
_MOST_NUMBERS = 100_000_000


def _instances() -> list[Coverage]:
    """What measures in this process."""
    coverage = sys.modules.get("coverage")
    if coverage is None:
        return []
    current = coverage.Coverage.current()
    return list(getattr(coverage.Coverage, "_instances", [current] if current else []))


def measures(config: pytest.Config) -> bool:
    """Whether what runs in this process, or in the machines, is measured."""
    return bool(_instances()) or bool(config.pluginmanager.hasplugin("_cov"))


# ---- in the machine -------------------------------------------------------------------------


class Sender:
    """Sends what was measured since it was asked the last time."""

    def __init__(self, config: pytest.Config, send: Send) -> None:
        self._config = config
        self._send = send
        self._measuring: list[Coverage] = []
        self._told: set[str] = set()  # files that the host knows

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        plugin: Any = self._config.pluginmanager.getplugin("_cov")
        controller = getattr(plugin, "cov_controller", None)
        if controller is not None:
            # For a worker of pytest-xdist it would start to measure anew, and write files.
            plugin.start = controller.finish = _do_nothing
        # Not what tests may start themselves.
        self._measuring = _instances()
        for measuring in self._measuring:
            measuring._warn_no_data = measuring._warn_unimported_source = False
            measuring._auto_save = False

    def send(self) -> None:
        for measuring in self._measuring:
            data = measuring.get_data()
            self._send_data(data)
            for path in _files_of_subprocesses(data):
                self._send_file(path, branch=bool(measuring.get_option("run:branch")))
            if data and hasattr(data, "purge_files"):
                data.purge_files(data.measured_files())

    def _send_file(self, path: str, *, branch: bool) -> None:
        from coverage import CoverageData

        written = CoverageData(basename=path)
        # A process that was killed may have left half of it, and any kind of exception tells that.
        with contextlib.suppress(Exception):
            written.read()
            if written.has_arcs() == branch:
                self._send_data(written)
        with contextlib.suppress(Exception):
            written.close(force=True)
        with contextlib.suppress(OSError):
            os.unlink(path)

    def _send_data(self, data: CoverageData) -> None:
        branch = data.has_arcs()
        entries: list[dict[str, object]] = []
        count = 0
        for entry in self._entries(data, branch):
            entries.append(entry)
            count += 50 + len(entry["numbers"])
            if count > _NUMBERS_OF_FRAME:
                self._send("coverage", branch=branch, entries=entries)
                entries, count = [], 0
        if entries:
            self._send("coverage", branch=branch, entries=entries)

    def _entries(self, data: CoverageData, branch: bool) -> Iterator[dict[str, Any]]:
        """For each file and context, the numbers of lines; with branches, of pairs of them."""
        for file in sorted(data.measured_files()):
            data.set_query_contexts(None)
            contexts = {one for some in data.contexts_by_lineno(file).values() for one in some}
            if not contexts and file in self._told:
                continue
            self._told.add(file)
            tracer = data.file_tracer(file) or ""
            if not contexts:  # it could have run
                yield {"file": file, "tracer": tracer, "context": "", "numbers": []}
            for context in sorted(contexts):
                data.set_query_context(context)
                if branch:
                    numbers = [number for arc in data.arcs(file) or () for number in arc]
                else:
                    numbers = data.lines(file) or []
                yield {"file": file, "tracer": tracer, "context": context, "numbers": numbers}
        data.set_query_contexts(None)


def _do_nothing(*_: object, **__: object) -> None:
    pass


def _files_of_subprocesses(data: CoverageData) -> list[str]:
    """What processes that have ended wrote beside `data`."""
    paths = []
    for path in sorted(glob.glob(glob.escape(data.base_filename()) + ".*")):
        process = re.search(r"\.pid(\d+)\.", path)
        lives = process is not None and Path("/proc", process[1]).exists()
        if path != data.data_filename() and not lives and not path.endswith("-journal"):
            paths.append(path)
    return paths


# ---- on the host ----------------------------------------------------------------------------


def guest_variables(config: pytest.Config, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with what lets coverage.py measure in the machine as it does here."""
    result = dict(environment)
    measuring = _host_coverage(config)
    if measuring is None:
        return result
    # It is there for subprocesses of this process, and names a file of this host.
    result.pop("COVERAGE_PROCESS_CONFIG", None)
    if environment.get("COVERAGE_FILE") in (None, os.environ.get("COVERAGE_FILE")):
        result["COVERAGE_FILE"] = _DATA_FILE
    if not config.pluginmanager.hasplugin("_cov") and hasattr(measuring.config, "serialize"):
        copied = measuring.config.copy()  # of `coverage run`
        copied.data_file = result["COVERAGE_FILE"]
        result["COVERAGE_PROCESS_CONFIG"] = copied.serialize()
    return result


def written_files(config: pytest.Config) -> list[str]:
    """Patterns of the files that reports of coverage are written to."""
    measuring = _host_coverage(config)
    if measuring is None:
        return []
    option = measuring.config
    reports = getattr(config.option, "cov_report", None)
    told = list(reports.values()) if isinstance(reports, dict) else []
    names = [option.html_dir, option.xml_output, option.json_output, option.lcov_output, *told]
    data_file = os.path.abspath(option.data_file)
    directory = config.invocation_params.dir
    return [data_file, f"{data_file}.*", *(str(directory / name) for name in names if name)]


def _host_coverage(config: pytest.Config) -> Coverage | None:
    plugin: Any = config.pluginmanager.getplugin("_cov")
    if plugin is not None:
        measuring: Coverage | None = getattr(plugin.cov_controller, "cov", None)
        return measuring
    instances = _instances()
    return instances[-1] if instances else None


class Receiver:
    """Adds what comes from the machines to what the host's coverage.py has."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._files: dict[str, str | None] = {}  # their tracers; None: not taken
        self._pending: dict[tuple[str, str], Numbers] = {}
        self._count = self._total = 0
        self._branch = False
        self._outside = 0

    def start(self) -> None:
        """What this process does not run, the machines do."""
        measuring = _host_coverage(self._config)
        if measuring is not None:
            measuring._warn_no_data = measuring._warn_unimported_source = False

    def take(self, message: frames.Message) -> None:
        """Takes one frame; FrameError if it makes no sense."""
        measuring = _host_coverage(self._config)
        if measuring is None:
            raise frames.FrameError("nothing is measured in this run")
        self._branch = bool(measuring.get_option("run:branch"))
        if message["branch"] is not self._branch:
            raise frames.FrameError("lines and branches cannot be mixed")
        for entry in message["entries"]:
            self._take_entry(measuring, entry)
        if self._count > _MOST_PENDING:
            self.write()

    def _take_entry(self, measuring: Coverage, entry: dict[str, Any]) -> None:
        file, context = _name(entry["file"]), _name(entry["context"])
        numbers = _checked_numbers(entry["numbers"], self._branch)
        tracer = _name(entry["tracer"])
        if file not in self._files:
            self._files[file] = self._checked_tracer(measuring, file, tracer)
            self._total += 100
        if self._files[file] not in (None, tracer):
            raise frames.FrameError(f"{file!r} is measured by two plugins of coverage.py")
        self._total += 50 + len(numbers)
        if self._total > _MOST_NUMBERS:
            raise frames.FrameError("more was measured than can be")
        if self._files[file] is not None:
            pending: Any = self._pending.setdefault((context, file), set())
            self._count -= len(pending)
            pending |= numbers
            self._count += len(pending)

    def _checked_tracer(self, measuring: Coverage, file: str, tracer: str) -> str | None:
        plugins: Any = measuring.get_option("run:plugins") or []
        if tracer and tracer.rpartition(".")[0] not in plugins:
            raise frames.FrameError(f"{tracer!r} is no plugin of coverage.py here")
        path = os.path.join(self._config.invocation_params.dir.resolve(), file)
        if os.path.normpath(path) == path and _is_of_run(self._config, path):
            return tracer
        self._outside += 1
        return None

    def write(self) -> None:
        """Hands over what has come so far."""
        measuring = _host_coverage(self._config)
        if measuring is None or not self._pending:
            return
        contexts: dict[str, dict[str, Any]] = {"": {}}
        for (context, file), numbers in self._pending.items():
            if numbers:
                contexts.setdefault(context, {})[file] = numbers
        data = measuring.get_data()
        for context, files in contexts.items():
            data.set_context(context)
            (data.add_arcs if self._branch else data.add_lines)(files)
        static: Any = measuring.get_option("run:context")
        data.set_context(static)
        data.touch_files({file for _, file in self._pending})
        data.add_file_tracers({file: tracer for file, tracer in self._files.items() if tracer})
        self._pending = {}
        self._count = 0

    def lines(self, crashes: int) -> list[str]:
        """What the terminal's summary says, after so many crashes."""
        lines = []
        if crashes and self._files:
            plural = "" if crashes == 1 else "s"
            lines.append(f"left:    coverage of what ran in {crashes} machine{plural} that crashed")
        if self._outside:
            plural = "" if self._outside == 1 else "s"
            lines.append(f"left:    coverage of {self._outside} file{plural} not of this host")
        return lines


def _is_of_run(config: pytest.Config, path: str) -> bool:
    """Whether `path` is a file of what was brought into the machines."""
    directories = [str(config.rootpath), str(config.invocation_params.dir), sys.prefix, *sys.path]
    resolved = (Path(directory).resolve() for directory in directories if directory)
    return any(directory in Path(path).parents for directory in resolved) and os.path.isfile(path)


def _name(text: object) -> str:
    if not isinstance(text, str) or len(text) > _LONGEST_NAME or "\0" in text:
        raise frames.FrameError("a name of coverage is no text, or too long")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise frames.FrameError("a name of coverage is no text") from error
    return text


def _checked_numbers(numbers: object, branch: bool) -> Numbers:
    first = -_LAST_LINE if branch else 0  # the line of an empty module
    if not isinstance(numbers, list) or not all(
        type(number) is int and first <= number <= _LAST_LINE for number in numbers
    ):
        raise frames.FrameError("coverage has something that is no line number")
    if not branch:
        return set(numbers)
    if len(numbers) % 2:
        raise frames.FrameError("coverage has half a branch")
    return set(zip(numbers[::2], numbers[1::2]))
