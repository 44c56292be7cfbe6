"""What the machines report, as pytest's own objects, and the hooks that take them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import pytest

from spore._pytest import frames

Call = Callable[[], None]


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
    return None


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
