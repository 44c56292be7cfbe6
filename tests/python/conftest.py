from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

_SUPPORT = Path(__file__).parent / "support"

Run = Callable[..., pytest.RunResult]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name for name in os.environ if name.startswith(("SPORE_PYTEST", "DOUBLE_", "PYTEST_XDIST"))
    ]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("SPORE_CHANNEL_FD", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


@pytest.fixture
def forked(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs pytest with forks of the test double; three, unless told otherwise."""
    monkeypatch.setenv("PYTHONPATH", str(_SUPPORT))
    pytester.makeini("[pytest]\naddopts = -p no:xdist\n")

    def run(*arguments: str, fork: str = "--spore-fork=3") -> pytest.RunResult:
        return pytester.runpytest_subprocess("-p", "spore_double", fork, *arguments, timeout=60)

    return run
