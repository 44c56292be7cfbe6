"""The page of spore-test --html in a real browser; its runner's unit test makes the pages."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from browser import CHROMIUM, count_rows, data_of, show_page

_ROOT = Path(__file__).parents[2]
_SPORE = os.environ.get("SPORE_BIN")
_MAKER = (Path(_SPORE).parent if _SPORE else _ROOT / "build" / "bin") / "gtest_runner_test"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(not _MAKER.exists(), reason=f"{_MAKER} is not built"),
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pages")
    subprocess.run(
        [_MAKER, "--gtest_filter=PageTest.IsLeftForABrowser"],
        env={**os.environ, "SPORE_TEST_PAGES": str(directory)},
        check=True,
        capture_output=True,
    )
    return directory


def test_a_run_is_drawn(pages: Path, tmp_path: Path) -> None:
    drawn = show_page((pages / "plain.html").read_text(), tmp_path)
    assert count_rows(drawn) == 2
    assert "2 of 2" in drawn.text
    assert "child 0" in drawn.text
    paths = [one for tag, one in drawn.elements if tag == "path"]
    assert {"crashed", "passed"} <= {one.get("data-outcome") for one in paths}
    assert {"crash", "kept", "once"} <= {one.get("class") for one in paths}


@pytest.mark.parametrize(("fragment", "found"), [("#outcome=crashed", 1), ("#text=other", 1)])
def test_the_address_says_which_tests_are_shown(
    pages: Path, tmp_path: Path, fragment: str, found: int
) -> None:
    drawn = show_page((pages / "plain.html").read_text(), tmp_path, fragment)
    assert count_rows(drawn) == found
    assert f"{found} of 2" in drawn.text


def test_hostile_names_do_nothing(pages: Path, tmp_path: Path) -> None:
    page = (pages / "hostile.html").read_text()
    drawn = show_page(page, tmp_path)
    assert drawn.count("img") == 0
    assert count_rows(drawn) == 2
    names = [run[0] for run in data_of(page)["runs"]]
    assert "<img src=x onerror=" in names[0]


def test_the_policy_holds_even_where_escaping_would_not(pages: Path, tmp_path: Path) -> None:
    page = (pages / "plain.html").read_text()
    bad = "<script>document.title = 'owned'</script><b onclick='1'>"
    with pytest.raises(AssertionError, match="Content Security Policy"):
        show_page(page.replace("why Test", bad), tmp_path)
