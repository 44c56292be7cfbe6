"""What a run says at its end about what it did once, and what that would cost without forks."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

Run = Callable[..., pytest.RunResult]

_TESTS = """
    import pytest

    @pytest.fixture(scope="session")
    def base(): pass

    @pytest.mark.parametrize("number", range(8))
    def test_it(number, base): pass
"""


def _fleet(dist: str, *, forked: int, resets: int = 0) -> Any:
    from spore._pytest.fleet import Timings

    return SimpleNamespace(
        settings=SimpleNamespace(dist=dist),
        timings=Timings(),
        images=[],
        engine="double",
        warm=False,
        warmth=None,
        early=None,
        members=[SimpleNamespace(stats=None)] * forked,
        resets=resets,
        phases=[],
    )


def _spared(fleet: Any, children: int) -> str:
    from spore._pytest import summary

    story = summary.Story(children=children, collecting=2.0, first=summary.PointStory(seconds=10.1))
    return "\n".join(line for line in summary.lines(story, fleet) if line.startswith("spared:"))


@pytest.mark.parametrize(
    ("arguments", "who"),
    [((), "3 workers"), (("--spore-dist=each",), "8 clean processes, one a test,")],
    ids=["load", "each"],
)
def test_the_comparison_is_made_of_what_was_measured(
    pytester: pytest.Pytester, forked: Run, arguments: tuple[str, ...], who: str
) -> None:
    pytester.makepyfile(_TESTS)
    text = forked(*arguments).stdout.str()
    collecting, preparing = re.search(
        r"once: .* collected in ([\d.]+) s, session fixtures set up in ([\d.]+) s", text
    ).groups()
    once, number, rest, apart = re.search(
        r"spared:  collected and set up once: ([\d.]+) s; (\d+) (.*) that do so each for"
        r" themselves, as fast, would have spent ([\d.]+) s on it, added up",
        text,
    ).groups()
    assert f"{number} {rest}" == who
    assert float(once) == pytest.approx(float(collecting) + float(preparing), abs=0.02)
    assert float(apart) == pytest.approx(int(number) * float(once), abs=0.01 * int(number))


def test_workers_are_counted_once_though_others_take_over_from_them() -> None:
    assert "12.10 s; 4 workers that" in _spared(_fleet("load", forked=6), children=4)
    assert "would have spent 48.40 s" in _spared(_fleet("load", forked=6), children=4)
    # With a budget not all of them were forked.
    assert "; 2 workers that" in _spared(_fleet("load", forked=2), children=4)


def test_every_clean_start_is_counted() -> None:
    assert "; 10 clean processes, one a test, that" in _spared(
        _fleet("each", forked=4, resets=6), children=4
    )


def test_one_child_spares_nothing() -> None:
    assert _spared(_fleet("load", forked=1), children=1) == ""
