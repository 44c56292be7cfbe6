"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_configure() -> None:
    # Runs within tests would keep their machines, and no run comes that starts from them.
    os.environ["SPORE_KEPT_LIMIT"] = "0M"


@pytest.fixture(scope="session")
def program() -> str:
    """The `spore` program under test."""
    path = os.environ.get("SPORE_BIN") or str(Path(__file__).parents[1] / "build/bin/spore")
    assert os.access(path, os.X_OK), f"{path} is not built; set SPORE_BIN to the spore program"
    return path
