"""pytest-cov reports with forks what it reports without them, with a double of the engine.

The machines of the double are processes of this host: their coverage.py is told to write elsewhere,
so that what is reported came over the channel.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., pytest.RunResult]

_PROJECT = {
    "app/__init__.py": "",
    "app/early.py": """
def double(n):
    if n > 5:
        return 0
    return 2 * n

def forever():
    while True:
        pass
""",
    "app/late.py": """
import sys

def sign(n):
    if n < 0:
        return -1
    elif n == 0:
        return 0
    return 1
""",
    "app/never.py": """
def unused():
    return 1
""",
    "app/other_process.py": """
import sys

def main(argument):
    if argument == "one":
        print("one")
    else:
        print("other")

main(sys.argv[1])
""",
    "conftest.py": """
import pytest
from app import early

@pytest.fixture(scope="session")
def base():
    yield early.double(1)
    early.double(7)
""",
    "test_one.py": """
import subprocess, sys
import pytest

@pytest.mark.parametrize("n", [-1, 1])
def test_sign(n, base):
    from app import late
    assert late.sign(n) == n

def test_subprocess():
    subprocess.run([sys.executable, "-m", "app.other_process", "one"], check=True)

@pytest.mark.no_cover
def test_not_measured():
    from app import late
    assert late.sign(0) == 0
""",
    "test_two.py": """
def test_fails(base):
    assert base == 3

def test_other_subprocess():
    import subprocess, sys
    subprocess.run([sys.executable, "-m", "app.other_process", "two"], check=True)
""",
}
_REPORTS = (
    "--cov-report=json:out/report.json",
    "--cov-report=xml:out/report.xml",
    "--cov-report=term",
)


@pytest.fixture
def project(pytester: pytest.Pytester) -> Path:
    for name, text in _PROJECT.items():
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return pytester.path


@pytest.fixture
def measured(project: Path, forked: Run) -> Run:
    """`forked`, where coverage.py in the machines writes into "inside"."""

    def run(*arguments: str, **options: str) -> pytest.RunResult:
        data_file = project / "inside" / ".coverage"
        return forked(f"--override-ini=spore_env=COVERAGE_FILE={data_file}", *arguments, **options)

    return run


def report(project: Path) -> dict[str, Any]:
    path = project / "out" / "report.json"
    content: dict[str, Any] = json.loads(path.read_text())
    path.unlink()
    del content["meta"]["timestamp"]
    return content


def contexts(project: Path) -> set[tuple[str, str, bytes]]:
    """What the data file says of each context and file."""
    with sqlite3.connect(project / ".coverage") as data:
        return set(
            data.execute(
                "select path, context, numbits from line_bits"
                " join file on file.id = file_id join context on context.id = context_id"
            )
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--cov=app",),
        ("--cov=.", "--cov-branch"),
        ("--cov=.", "--spore-dist=each"),
        ("--cov=app", "--cov-branch", "--spore-dist=each"),
    ],
)
def test_reports_are_those_of_a_plain_run(
    pytester: pytest.Pytester, project: Path, measured: Run, arguments: tuple[str, ...]
) -> None:
    (project / ".coveragerc").write_text("[run]\npatch = subprocess\n")
    plain = pytester.runpytest_subprocess(*arguments, *_REPORTS)
    plain.assert_outcomes(passed=5, failed=1)
    told = report(project)
    assert told["files"]["app/other_process.py"]["summary"]["missing_lines"] == 0
    assert told["files"]["app/never.py"]["summary"]["covered_lines"] == 0
    xml = (project / "out/report.xml").read_text()
    result = measured(*arguments, *_REPORTS)
    result.assert_outcomes(passed=5, failed=1)
    assert report(project) == told
    assert _untimed((project / "out/report.xml").read_text()) == _untimed(xml)
    assert table(result) == table(plain) != []
    assert "CoverageWarning" not in result.stdout.str()
    assert {path.name for path in project.glob(".coverage*")} == {".coveragerc", ".coverage"}


def _untimed(xml: str) -> str:
    return re.sub(r'timestamp="\d+"', "", xml)


def table(result: pytest.RunResult) -> list[str]:
    lines = [line for line in result.outlines if line.startswith(("app", "test_", "TOTAL", "conf"))]
    return [line for line in lines if "%" in line and "[" not in line]


@pytest.mark.parametrize("dist", ["load", "each"])
def test_contexts_are_those_of_a_plain_run(
    pytester: pytest.Pytester, project: Path, measured: Run, dist: str
) -> None:
    (project / "test_two.py").unlink()
    (project / "conftest.py").unlink()
    (project / "test_one.py").write_text("""
import pytest

@pytest.mark.parametrize("n", [-1, 0, 1])
def test_sign(n):
    from app import late
    assert late.sign(n) == n

def test_double():
    from app import early
    assert early.double(1) == 2
""")
    from_app = {"app/late.py", "app/early.py"}
    # What is imported by the first test of each child is one test's in a plain run.
    (project / "conftest.py").write_text("import app.late, app.early\n")
    pytester.runpytest_subprocess("--cov=app", "--cov-context=test").assert_outcomes(passed=4)
    told = contexts(project)
    assert len({context for _, context, _ in told}) == 5
    assert {str(Path(path).relative_to(project)) for path, _, _ in told} >= from_app
    measured("--cov=app", "--cov-context=test", f"--spore-dist={dist}").assert_outcomes(passed=4)
    assert contexts(project) == told


def test_too_little_coverage_fails_the_run(project: Path, measured: Run) -> None:
    (project / "test_two.py").unlink()
    assert measured("--cov=app", "--cov-fail-under=5").ret == pytest.ExitCode.OK
    result = measured("--cov=app", "--cov-fail-under=99")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAIL Required test coverage of 99*% not reached.*"])


def test_coverage_is_appended_when_asked(
    pytester: pytest.Pytester, project: Path, measured: Run
) -> None:
    for run in (pytester.runpytest_subprocess, measured):
        run("--cov=app", "-k", "sign")
        run("--cov=app", "--cov-append", "-k", "fails", *_REPORTS)
        files = report(project)["files"]
        assert files["app/late.py"]["missing_lines"] == [8]
        assert files["app/early.py"]["missing_lines"] == [8, 9]


def test_coverage_run_measures_the_machines_too(
    pytester: pytest.Pytester, project: Path, measured: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*arguments: str) -> dict[str, list[int]]:
        coverage = [sys.executable, "-m", "coverage"]
        pytester.run(*coverage, "run", "--source=app", "-m", "pytest", *arguments)
        subprocess.run([*coverage, "json", "-o", "out.json"], check=True)
        files = json.loads((project / "out.json").read_text())["files"]
        return {name: one["missing_lines"] for name, one in files.items()}

    plain = missing("-p", "no:cov", "-k", "not subprocess")
    inside = f"--override-ini=spore_env=COVERAGE_FILE={project / 'inside' / '.coverage'}"
    # `forked` has set what the double needs. One child: those of the double share a disk, and so
    # the data file, which machines have each for itself.
    told = missing("-p", "spore_double", "--spore-fork=1", inside, "-k", "not subprocess")
    assert plain["app/late.py"] == []
    assert told == plain


def test_half_a_data_file_is_left_out(pytester: pytest.Pytester, measured: Run) -> None:
    (pytester.path / "test_two.py").unlink()
    (pytester.path / "test_one.py").write_text("""
import os, sqlite3

def test_leaves_data():
    file = os.environ["COVERAGE_FILE"]
    open(file + ".host.pid4000001.a", "w").write("no data base")
    sqlite3.connect(file + ".host.pid4000002.b").execute("create table meta (key, value)")
    sqlite3.connect(file + ".host.pid4000003.c").execute("create table coverage_schema (version)")
""")
    result = measured("--cov=test_one", *_REPORTS)
    result.assert_outcomes(passed=1)
    assert report(pytester.path)["files"]["test_one.py"]["missing_lines"] == []


def test_what_a_crash_takes_along_is_told(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import os
        def test_a(): os._exit(1)
    """)
    result = forked("--cov=.")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["left:    coverage of what ran in 1 machine that crashed"])


_HOSTILE = """
    def test_before(): pass

    def test_hostile(request):
        plugin = request.config.pluginmanager.getplugin("spore-guest")
        entry = {{"file": __file__, "tracer": "", "context": "", "numbers": [1], **{entry}}}
        plugin.send("coverage", **{{"branch": False, "entries": [entry], **{message}}})

    def test_after(): pass
"""


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"numbers": [-1]}, {}),
        ({"numbers": [10**9]}, {}),
        ({"numbers": [True]}, {}),
        ({"numbers": ["1"]}, {}),
        ({"numbers": "12"}, {}),
        ({"file": None}, {}),
        ({"file": "a\0b"}, {}),
        ({"context": "\ud800"}, {}),
        ({"context": "x" * 5000}, {}),
        ({"tracer": "os.system"}, {}),
        ({}, {"branch": True}),
        ({}, {"entries": 3}),
        ({}, {"entries": [3]}),
    ],
)
def test_nonsense_costs_the_test_that_sent_it(
    pytester: pytest.Pytester, measured: Run, entry: dict[str, object], message: dict[str, object]
) -> None:
    for name in _PROJECT:
        (pytester.path / name).unlink()
    pytester.makepyfile(_HOSTILE.format(entry=ascii(entry), message=ascii(message)))
    result = measured("--cov=.", fork="--spore-fork=1")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["while this test ran, the machine sent nonsense: *"])


def test_files_from_elsewhere_are_not_reported(pytester: pytest.Pytester, measured: Run) -> None:
    (pytester.path / "test_two.py").unlink()
    (pytester.path / "test_one.py").unlink()
    pytester.makepyfile(_HOSTILE.format(entry={"file": "/etc/hosts"}, message={}))
    result = measured("--cov=.", "--cov-report=term", fork="--spore-fork=1")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["left:    coverage of 1 file not of this host"])
    assert "/etc/hosts" not in result.stdout.str()


def test_without_pytest_cov_it_is_refused(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(_HOSTILE.format(entry={}, message={}))
    result = forked("-p", "no:cov", fork="--spore-fork=1")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*nonsense: nothing is measured in this run"])
