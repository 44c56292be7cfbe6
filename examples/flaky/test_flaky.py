"""Flaky tests, told from failing ones: every run starts from the same captured machine.

pytest --spore-fork --spore-repeat=20 examples/flaky
"""

from __future__ import annotations

import random
import threading


def test_sound() -> None:
    numbers = list(range(100))
    random.shuffle(numbers)
    assert sorted(numbers) == list(range(100))


def test_depends_on_chance() -> None:
    """Passes unless the smallest of five comes first: fails in about one of five runs."""
    numbers = random.sample(range(100), 5)
    assert numbers[0] != min(numbers)


def test_depends_on_who_is_first() -> None:
    order: list[str] = []
    threads = [threading.Thread(target=order.append, args=(name,)) for name in "ab"]
    random.shuffle(threads)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order == ["a", "b"]


def test_fails() -> None:
    assert sum(range(5)) == 11
