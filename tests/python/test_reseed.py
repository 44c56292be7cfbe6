"""Random numbers after a fork, with a double of the engine."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable

import pytest

Run = Callable[..., pytest.RunResult]

# What of Faker matters here, where it is not installed.
_STAND_IN = """
    import random as source
    shared = source.Random()
    class Faker:
        @classmethod
        def seed(cls, seed=None):
            shared.seed(seed)
        def random_int(self, min, max):
            return shared.randint(min, max)
"""


@pytest.fixture
def draws(pytester: pytest.Pytester) -> None:
    """Three tests that draw from generators that were made before the fixture point."""
    if importlib.util.find_spec("faker") is None:
        pytester.mkpydir("faker").joinpath("__init__.py").write_text("from .proxy import Faker")
        pytester.makepyfile(**{"faker/proxy": _STAND_IN})
    pytester.makepyfile("""
        import random
        import numpy.random
        import pytest
        from faker import Faker

        @pytest.fixture(scope="session")
        def made():
            numpy.random.seed(1)
            Faker.seed(1)
            return Faker(), random.Random(1), numpy.random.default_rng(1)

        @pytest.mark.parametrize("number", range(3))
        def test_it(number, made):
            fake, own, generator = made
            print(f"numpy={numpy.random.random()} faker={fake.random_int(0, 10**9)}")
            print(f"own={own.random()} generator={generator.random()} random={random.random()}")
    """)


def _drawn(result: pytest.RunResult, name: str) -> list[str]:
    result.assert_outcomes(passed=3)
    return re.findall(rf"\b{name}=(\S+)", result.stdout.str())


@pytest.mark.usefixtures("draws")
def test_each_child_draws_its_own(forked: Run) -> None:
    result = forked("-rP", "--spore-dist=each")
    for name in ("random", "numpy", "faker"):
        assert len(set(_drawn(result, name))) == 3
    # Nobody but their owners can find these.
    for name in ("own", "generator"):
        assert len(set(_drawn(result, name))) == 1


@pytest.mark.usefixtures("draws")
def test_a_seed_is_that_of_all_children_and_runs(forked: Run) -> None:
    first, second, other = (
        forked("-rP", "--spore-dist=each", f"--spore-seed={n}") for n in (4, 4, 5)
    )
    for name in ("random", "numpy", "faker"):
        assert len(set(_drawn(first, name))) == 1
        assert _drawn(first, name) == _drawn(second, name)
        assert _drawn(first, name) != _drawn(other, name)


@pytest.mark.usefixtures("draws")
def test_what_was_captured_is_kept_if_asked_for(forked: Run) -> None:
    result = forked("-rP", "--spore-dist=each", "--spore-keep-random-state")
    for name in ("numpy", "faker"):  # Python reseeds its own after the double's os.fork()
        assert len(set(_drawn(result, name))) == 1


def test_a_module_called_faker_is_left_alone(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(faker="class Faker: pass", test_it="import faker\ndef test_a(): pass")
    forked("-p", "no:faker").assert_outcomes(passed=1)
