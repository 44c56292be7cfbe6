"""A test that takes its process, or its whole machine, along costs one test.

    pytest --spore-fork examples/crash

Each of these is reported as failed, with how it ended and where it was; the others pass.
"""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

import pytest


def test_before() -> None:
    assert os.getpid()


def test_segmentation_fault() -> None:
    ctypes.string_at(0)


def test_exit() -> None:
    os._exit(3)


def test_deadlock() -> None:
    """Ends with --spore-timeout=5, and shows the stacks of all threads."""
    lock = threading.Lock()
    with lock:
        lock.acquire()


def test_kernel_panic() -> None:
    if not os.environ.get("SPORE_PYTEST_GUEST"):
        pytest.skip("this would end the machine that you work on")
    Path("/proc/sysrq-trigger").write_text("c")


def test_after() -> None:
    assert os.getpid()
