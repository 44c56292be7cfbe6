"""--spore-html: a page about the run, with a double of the engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import Elements, data_of
from pages import (
    HOSTILE,
    outcomes_of,
    page_of,
    report,
    timeline_of,
)

Run = Callable[..., pytest.RunResult]

_MIXED = """
    import os
    import pytest

    @pytest.fixture(scope="session")
    def base(): pass

    @pytest.fixture
    def broken(): raise RuntimeError("no data")

    @pytest.fixture
    def leaves():
        yield
        raise RuntimeError("left")

    def test_passes(base): pass
    def test_fails():
        print("said before")
        assert 0, "because"
    def test_error(broken): pass
    def test_left(leaves): pass
    @pytest.mark.skip
    def test_skipped(): pass
    @pytest.mark.xfail
    def test_xfailed(): assert 0
    @pytest.mark.xfail
    def test_xpassed(): pass
    def test_crashes(): os._exit(99)
    def test_after(): pass
"""


@pytest.mark.parametrize("dist", ["load", "each"])
def test_says_what_happened(pytester: pytest.Pytester, forked: Run, dist: str) -> None:
    pytester.makepyfile(test_it=_MIXED)
    result = forked("--spore-html=page.html", f"--spore-dist={dist}")
    result.stdout.fnmatch_lines(["page: *page.html"])
    page = (pytester.path / "page.html").read_text()
    assert outcomes_of(page) == {
        f"test_it.py::test_{name}": outcome
        for name, outcome in {
            "passes": "passed",
            "fails": "failed",
            "error": "error",
            "left": "error",
            "skipped": "skipped",
            "xfailed": "xfailed",
            "xpassed": "xpassed",
            "crashes": "crashed",
            "after": "passed",
        }.items()
    }
    data = data_of(page)
    assert [phase[0] for phase in data["phases"]] == [
        "images",
        "boot",
        "collection",
        "fixtures",
        "capture",
    ]
    for _, _, machine, began, ended, _, _ in data["runs"]:
        forked_at, retired_at = data["machines"][machine][:2]
        assert forked_at <= began <= ended <= retired_at
    assert sum(len(machine[3]) for machine in data["machines"]) == 1  # crash
    if dist == "each":
        assert sum(len(machine[2]) for machine in data["machines"]) == 9 - 3  # resets
    said = Elements(page).text
    for text in (
        "because",
        "said before",
        "no data",
        "Kernel panic - not syncing: double",
        "the console's end",
        "session fixtures in",
        "captured after",
    ):
        assert text in said


def test_every_run_of_a_repeated_test_is_shown(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(test_it="def test_a(): pass")
    forked("--spore-html=page.html", "--spore-repeat=3")
    page = (pytester.path / "page.html").read_text()
    assert sorted(outcomes_of(page)) == [f"test_it.py::test_a (run {run})" for run in (1, 2, 3)]


def test_is_written_when_the_run_ends_early(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(
        test_it="""
        import pytest
        def test_first(): pass
        def test_exits(): pytest.exit("enough")
        def test_never(): pass
    """
    )
    result = forked("--spore-html=page.html", "--spore-dist=shard", fork="--spore-fork=1")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    page = (pytester.path / "page.html").read_text()
    assert "interrupted</span>" in page
    assert outcomes_of(page)["test_it.py::test_first"] == "passed"
    assert "test_it.py::test_never" not in outcomes_of(page)
    assert ">1</dd><dt>not run</dt>" in page


@pytest.mark.parametrize("case", ["engine gone", "collection error"])
def test_is_written_when_the_run_cannot_go_on(
    pytester: pytest.Pytester, forked: Run, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    if case == "engine gone":
        monkeypatch.setenv("SPORE_DOUBLE_ENGINE_GONE", "1")
    pytester.makepyfile("def test_a(): pass" if case == "engine gone" else "import no_such_thing")
    (pytester.path / "page.html").write_text("of an earlier run")
    assert forked("--spore-html=page.html").ret != pytest.ExitCode.OK
    page = (pytester.path / "page.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert page.rstrip().endswith("</html>")
    assert not list(pytester.path.glob(".spore-*"))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("missing/page.html", "no file can be written in *missing: No such file or directory"),
        ("/proc/page.html", "no file can be written in /proc: *"),
        ("..", "that is no file"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_run(
    pytester: pytest.Pytester, forked: Run, file: str, message: str
) -> None:
    pytester.makepyfile("import pathlib; pathlib.Path('ran').touch()\ndef test_a(): pass")
    result = forked(f"--spore-html={file}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--spore-html=*{file}: {message}"])
    assert not (pytester.path / "ran").exists()


def test_a_file_that_can_no_longer_be_written_fails_the_run(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile("import shutil\ndef test_a(): shutil.rmtree('pages')")
    pytester.mkdir("pages")
    result = forked("--spore-html=pages/page.html")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["--spore-html: *page.html was not written: No such file*"])
    result.assert_outcomes(passed=1)


def test_without_the_option_nothing_is_drawn(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makeconftest("""
        import sys
        def pytest_unconfigure():
            assert "spore._pytest.html" not in sys.modules
    """)
    pytester.makepyfile("def test_a(): pass")
    assert forked().ret == pytest.ExitCode.OK
    assert not list(pytester.path.glob("*.html"))


def test_what_the_guest_says_stays_text(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(
        test_it=f"""
        import os, sys
        import pytest
        hostile = {HOSTILE!r}

        @pytest.mark.parametrize("name", [hostile])
        def test_named(name):
            print(hostile)
            raise ValueError(hostile + "\\x1b[31mred\\x1b[0m\\x07\\u202e")

        def test_dies():
            os.write(2, hostile.encode())
            os._exit(99)
    """
    )
    forked("--spore-html=page.html", "-s")
    page = (pytester.path / "page.html").read_text()
    plain = Elements(page_of(timeline_of(["a"], ["passed"])))
    found = Elements(page)
    assert found.count("img") == 0
    assert found.count("script") == plain.count("script")
    assert not [one for one in found.elements if any(name.startswith("on") for name in one[1])]
    assert {tag for tag, _ in found.elements} <= {tag for tag, _ in plain.elements} | {
        *("details", "summary", "pre", "h3", "i", "code"),
    }
    (name,) = [run[0] for run in data_of(page)["runs"] if "test_named" in run[0]]
    assert name == f"test_it.py::test_named[{HOSTILE}]"
    assert HOSTILE + "red\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}" in found.text
    assert "\x1b" not in page


def test_a_page_needs_nothing_else() -> None:
    page = page_of(timeline_of(["a"], ["failed"]))
    elements = Elements(page).elements
    assert not [tag for tag, _ in elements if tag in ("link", "img", "iframe", "base", "form")]
    assert not [attributes for _, attributes in elements if "src" in attributes]
    links = [attributes["href"] for _, attributes in elements if "href" in attributes]
    assert all(link is not None and link.startswith("#") for link in links)
    assert set(re.findall(r"https?://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in page
    assert not re.search(r"@@\w+@@", page)


def test_a_large_run_makes_no_large_page() -> None:
    tests = [f"tests/unit/test_module_{number % 50}.py::test_{number}" for number in range(10_000)]
    page = page_of(timeline_of(tests, ["passed", "passed", "failed"]))
    assert len(page) < 3_000_000
    assert len(data_of(page)["runs"]) == 10_000
    assert Elements(page).count("details") == 1_000
    assert "Only the first 1,000 failures have their texts here." in page


def test_long_texts_are_bounded() -> None:
    timeline = timeline_of(["a" * 1_000_000], ["passed"])
    timeline.expect(["long"] * 300)
    timeline.forked(9, 0)
    for number in range(300):
        timeline.test_started(9, number)
        timeline.reported(9, report("failed", text="first" + "x" * 100_000 + "last"))
        timeline.test_ended(9)
    page = page_of(timeline)
    assert len(page) < 10_000_000
    assert "firstxx" in page
    assert "xxlast" in page
    assert "characters left out" in page
    assert "the texts of all failures would be too long" in page


class _Unreadable:
    def __repr__(self) -> str:
        return "unreadable"

    def toterminal(self, writer: Any) -> None:
        raise TypeError("reprtraceback is a number")


@pytest.mark.parametrize(
    "values",
    [
        {"longrepr": _Unreadable()},
        {"sections": 7},
        {"sections": [("one",), 2]},
        {"duration": float("nan")},
        {"duration": float("inf")},
        {"duration": "-"},
        {"duration": 10**400},
        {"when": ["call"]},
        {"longrepr": "\ud800 lone"},
    ],
    ids=str,
)
def test_reports_of_any_kind_make_a_page(values: dict[str, Any]) -> None:
    timeline = timeline_of([], [])
    timeline.expect(["\ud800::a"])
    timeline.forked(0, 0)
    timeline.test_started(0, 0)
    timeline.reported(0, report("failed", **values))
    timeline.test_ended(0)
    page = page_of(timeline)
    page.encode()
    assert next(iter(outcomes_of(page).values())) in ("failed", "error")


def test_kept_machines_and_captures_of_forks_are_in_the_tree(tmp_path: Path) -> None:
    timeline = timeline_of([], [])
    timeline.expect(["a", "b"])
    module = timeline.captured("fixtures of <b>", parent=0)
    timeline.forked(5, 0, capture=module)
    timeline.test_started(5, 0)
    timeline.kept(5, "a", tmp_path / "1" / HOSTILE)
    timeline.reset(5, 6)
    timeline.test_started(6, 1)
    timeline.lost(6, f"panicked {HOSTILE}")
    timeline.retired(6, 5 << 20)
    page = page_of(timeline)
    said = Elements(page).text
    assert f"/1/{HOSTILE} -- sh" in said
    assert f"crashed: panicked {HOSTILE}" in said
    assert said.index("fixture point") < said.index("fixtures of <b>") < said.index("kept a:")
    assert "1 reset, 5.0 MiB of its own" in said
    # A machine that is put back, or ends, takes what runs in it along.
    assert outcomes_of(page) == {"a": "unfinished", "b": "unfinished"}


def test_every_file_of_the_package_is_in_a_build() -> None:
    root = Path(__file__).parents[2] / "python"
    listed = re.search(
        r"set\(package_sources\s(.*?)\)", (root / "CMakeLists.txt").read_text(), re.S
    )
    assert listed is not None
    files = {
        str(path.relative_to(root / "spore"))
        for path in (root / "spore").rglob("*.*")
        if path.suffix != ".pyc" and path.is_file()
    }
    assert set(listed[1].split()) == files
