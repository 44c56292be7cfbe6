"""What the machines report, as pytest's own objects, and the hooks that take them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from spore._pytest import frames, marks
from spore._pytest.marks import TestMark

Call = Callable[[], None]


@dataclass(frozen=True)
class Collected:
    """What is to be run: node ids, and what belongs to each."""

    tests: list[str]
    groups: list[str | None]  # of loadgroup
    points: list[tuple[str, int]]  # fixture points: a node id, and the number of the one above
    point_of: list[int]  # the number of each test's point
    marks: dict[int, TestMark] = field(default_factory=dict)  # @pytest.mark.spore, by test
    # With --sw: the test that a run goes on from, and how many tests there are.
    stepwise: tuple[str | None, int | None] | None = None

    @staticmethod
    def read(message: frames.Message) -> Collected:
        """From a "collected" message; FrameError if it makes no sense."""
        try:
            result = Collected(
                [str(test) for test in message["tests"]],
                [None if group is None else str(group) for group in message["groups"]],
                [(str(name), int(above)) for name, above in message["points"]],
                [int(point) for point in message["point_of"]],
                marks.told(message["marks"], len(message["tests"])),
                _stepwise(message["stepwise"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise frames.FrameError(f"what was collected cannot be read: {error!r}") from error
        count = len(result.tests)
        ordered = all(
            0 <= above <= max(0, number - 1) for number, (_, above) in enumerate(result.points)
        )
        known = all(0 <= point < len(result.points) for point in result.point_of)
        if len(result.groups) != count or len(result.point_of) != count or not (ordered and known):
            raise frames.FrameError("what was collected contradicts itself")
        return result


def _stepwise(told: Any) -> tuple[str | None, int | None] | None:
    if told is None:
        return None
    test, count = told
    return None if test is None else str(test), None if count is None else int(count)


def hook_call(config: pytest.Config, message: frames.Message) -> Call | None:
    """The call of the hook that `message` stands for; None if it stands for none."""
    kind = message["type"]
    hook = config.hook
    if kind in ("start", "end"):
        start_or_end = (
            hook.pytest_runtest_logstart if kind == "start" else hook.pytest_runtest_logfinish
        )
        return lambda: start_or_end(nodeid=message["test"], location=message["location"])
    if kind == "report":
        report = deserialize(config, message)
        return functools.partial(hook.pytest_runtest_logreport, report=report)
    if kind == "warning":
        return lambda: hook.pytest_warning_recorded.call_historic(kwargs=_warning(message))
    home = config.pluginmanager.getplugin("spore-home")
    call: Call | None = home.call(message) if home is not None else None
    return call


def report_of(call: Call) -> pytest.TestReport | None:
    """The report that `call` tells, if it tells one."""
    report = getattr(call, "keywords", {}).get("report")
    return report if isinstance(report, pytest.TestReport) else None


def failed_report(call: Call) -> pytest.TestReport | None:
    """The report that `call` tells, if it is one of a failure."""
    report = report_of(call)
    return report if report is not None and report.failed else None


def deserialize(config: pytest.Config, message: frames.Message) -> pytest.TestReport:
    """The report in a message; FrameError if it is none."""
    try:
        report = config.hook.pytest_report_from_serializable(config=config, data=message["report"])
    except Exception as error:
        raise frames.FrameError(f"a report cannot be read: {error!r}") from error
    if report is None:
        raise frames.FrameError("a report is of a kind that no plugin here knows")
    return report  # type: ignore[no-any-return]


def crash_report(
    test: str, location: tuple[str, int | None, str], when: str, text: str
) -> pytest.TestReport:
    """The report of a test that took its machine, or pytest in it, along."""
    return pytest.TestReport(
        nodeid=test,
        location=location,
        keywords={},
        outcome="failed",
        longrepr=text,
        when=when,  # type: ignore[arg-type]
    )


def _warning(message: frames.Message) -> dict[str, object]:
    module, name = message["category"]
    # The real class may come from the project, and no code of the project is imported here.
    category = type(name.rpartition(".")[2], (Warning,), {"__module__": module})
    return {
        "warning_message": warnings.WarningMessage(
            message["text"], category, message["filename"], message["line"]
        ),
        "when": message["when"],
        "nodeid": message["test"],
        "location": message["location"],
    }
