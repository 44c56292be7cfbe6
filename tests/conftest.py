"""What all tests share: the nest's emulator may take the nest down, which is no test's doing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

_GONE = "the nest is gone"  # as Spore words it, wherever it meets it


@pytest.fixture(scope="session")
def program() -> str:
    """The `spore` program under test."""
    path = os.environ.get("SPORE_BIN") or str(Path(__file__).parents[1] / "build/bin/spore")
    assert os.access(path, os.X_OK), f"{path} is not built; set SPORE_BIN to the spore program"
    return path


def _met_a_dead_nest(reports: list[pytest.TestReport]) -> bool:
    return any(
        report.failed
        and (_GONE in report.longreprtext or any(_GONE in text for _, text in report.sections))
        for report in reports
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Runs a test with real machines once more, from its fixtures on, when the nest went down."""
    if item.get_closest_marker("nest") is None:
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if _met_a_dead_nest(reports):
        item.session._setupstate.teardown_exact(None)
        item._initrequest()  # type: ignore[attr-defined]
        terminal = item.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.write_line(f"\n{_GONE}; once more: {item.nodeid}", yellow=True)
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
