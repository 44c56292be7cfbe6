"""`spore bench`: the shape of what it says, with real machines; never how fast they were."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytestmark = pytest.mark.nest

_BOUND = 400  # seconds; only a hang gets there
_UNITS = {"us", "ms", "s", "KiB"}
_ROWS = {
    "boot to agent": "ms",
    "first fork of a spore": "us",
    "fork": "us",
    "fork: memory": "us",
    "reset": "us",
    "reset: agent": "us",
    "reset, fixed cost": "us",
    "reset, per dirty page": "us",
    "50 forks in a row": "s",
    "16 alive at once": "ms",
    "alive at once, private memory": "KiB",
    "capture of 128 MiB": "ms",
    "capture of 512 MiB, pause": "us",
}
_PYTHON_ROWS = {"fork to output of a Python", "reset to output of a Python"}


@pytest.mark.long
def test_a_quick_bench_of_the_nest(program: str, tmp_path: Path) -> None:
    chart = tmp_path / "reset.svg"
    done = subprocess.run(
        [program, "bench", "--quick", "--json", "--engine", "nest", "--svg", str(chart)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_BOUND,
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["engine"] == "nest"
    units = {row["name"]: row["unit"] for row in report["rows"]}
    assert len(units) == len(report["rows"])
    assert _ROWS.items() <= units.items()
    assert set(units.values()) <= _UNITS
    assert set(units) | {row["name"] for row in report["skipped"]} >= _PYTHON_ROWS
    fitted = {"reset, fixed cost", "reset, per dirty page"}
    assert all(row["value"] >= 0 for row in report["rows"] if row["name"] not in fitted)
    samples = report["reset"]["samples"]
    assert len({pages for pages, _ in samples}) > 1
    assert all(pages >= 0 and us > 0 for pages, us in samples)

    svg = ElementTree.parse(chart).getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert svg.tag == f"{name}svg"
    assert len(svg.findall(f"{name}circle")) == len(samples)
    assert [path.name for path in tmp_path.iterdir()] == [chart.name]


def test_a_chart_that_cannot_be_written_is_told_before_measuring(
    program: str, tmp_path: Path
) -> None:
    chart = tmp_path / "nowhere" / "reset.svg"
    done = subprocess.run(
        [program, "bench", "--svg", str(chart)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_BOUND,
    )
    assert done.returncode == 125
    assert str(chart) in done.stderr
    assert done.stderr.count("\n") == 1
