"""Hooks that the plugin calls; a plugin or a conftest.py implements those that it wants.

They are known without --spore-fork too, where nothing calls them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from spore.guest import GuestGeneration


@pytest.hookspec
def pytest_spore_fixture_point(config: pytest.Config, session: pytest.Session) -> None:
    """Called in the machine just before it is captured.

    The tests are collected, and the session fixtures that they need are set up. What is done here
    is done once, and every child starts from it: fill caches, import what tests import, close what
    must not be shared.
    """


@pytest.hookspec
def pytest_spore_generation(config: pytest.Config, generation: GuestGeneration) -> None:
    """Called in every child right after it was forked or put back, before it runs any test.

    Random numbers are seeded already. This is the place to open anew what must not be shared:
    connections to hosts outside, identities, generators of one's own.
    """


@pytest.hookspec
def pytest_spore_child_crashed(config: pytest.Config, nodeid: str | None, reason: str) -> None:
    """Called on the host when a machine, or pytest in it, is lost.

    :param nodeid: The test that it ran, or was to run first; None between two tests.
    :param reason: How it ended, in one line.

    No code of a test is imported on the host: a plugin implements this, or the conftest.py of the
    root directory or of one that the command line names.
    """
