"""Random numbers that differ in every child, or are those of --spore-seed in all of them.

Only generators that a library shares with all of a program can be found. Those that code made for
itself before the fixture point, such as numpy.random.default_rng() or random.Random(), go on in
every child as they were captured.
"""

from __future__ import annotations

import os
import random
import sys


def reseed(seed: int | None = None) -> None:
    """Gives this child random numbers of its own, or those of `seed`."""
    random.seed(seed)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        fresh = int.from_bytes(os.urandom(4), "little")
        numpy_random.seed(fresh if seed is None else seed % 2**32)
    # Of the library, not of a module of that name. pytest's fixture `faker` seeds itself.
    faker = sys.modules.get("faker.proxy")
    if faker is not None:
        faker.Faker.seed(seed)
