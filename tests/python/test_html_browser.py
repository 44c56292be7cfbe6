"""The page of --spore-html in a real browser, which is driven by the page's address."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browser import CHROMIUM, Elements, count_rows, show_page
from pages import HOSTILE, page_of, timeline_of

Show = Callable[..., Elements]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture
def show(tmp_path: Path) -> Show:
    """The elements of a page as the browser has them once its script has run."""

    def run(page: str, fragment: str = "") -> Elements:
        return show_page(page, tmp_path, fragment)

    return run


def test_all_tests_are_drawn(show: Show) -> None:
    shown = show(page_of(timeline_of(list("abcdef"), ["passed", "failed", "skipped"], machines=2)))
    assert count_rows(shown) == 6
    assert "6 of 6" in shown.text
    assert "child 1" in shown.text
    drawn = [one.get("data-outcome") for tag, one in shown.elements if tag == "path"]
    assert drawn.count("passed") == 2  # one for each child
    assert shown.text.count("collection") == 0  # a phase that did not take place


@pytest.mark.parametrize(
    ("fragment", "rows"),
    [
        ("#outcome=failed", 2),
        ("#outcome=failed,skipped", 4),
        ("#text=E", 1),
        ("#outcome=failed&text=a", 0),
        ("#outcome=<b>&text=%3Cb%3E", 0),
        ("#show=tests", 6),
        ("#failure-1", 6),
        ("#%", 6),
    ],
)
def test_the_address_says_which_tests_are_shown(show: Show, fragment: str, rows: int) -> None:
    page = page_of(timeline_of(list("abcdef"), ["passed", "failed", "skipped"]))
    shown = show(page, fragment)
    assert count_rows(shown) == rows
    assert f"{rows} of 6" in shown.text


def test_of_many_tests_some_are_drawn_and_all_are_found(show: Show) -> None:
    tests = [f"tests/test_{number % 50}.py::test_{number}" for number in range(10_000)]
    page = page_of(timeline_of(tests, ["passed"] * 9 + ["failed"], machines=64))
    shown = show(page)
    assert 0 < count_rows(shown) <= 1_000
    assert "10,000 of 10,000" in shown.text
    assert "1 of 10,000" in show(page, "#text=test_9999").text


def test_hostile_names_do_nothing(show: Show) -> None:
    shown = show(page_of(timeline_of([HOSTILE, "b"], ["failed"])))
    assert shown.count("img") == 0
    assert shown.text.count(f"why {HOSTILE}") == 1
    assert count_rows(shown) == 2


def test_the_policy_holds_even_where_escaping_would_not(show: Show) -> None:
    page = page_of(timeline_of(["a"], ["failed"]))
    bad = "<script>document.title = 'owned'</script><b onclick='1'>"
    with pytest.raises(AssertionError, match="Content Security Policy"):
        show(page.replace("why a", bad))


def test_an_empty_run_is_drawn(show: Show) -> None:
    from spore._pytest.timeline import Timeline

    assert "0 of 0" in show(page_of(Timeline(detailed=True))).text
