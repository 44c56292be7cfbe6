"""tests/packaging/outside under CTest: the report of a run, and what must be in it."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

# Options of ctest: a report with all that the tests print.
EVERYTHING = ("--test-output-size-passed", "100000", "--test-output-size-failed", "100000")


class Report:
    """What CTest wrote of a run: status and output of each entry, by name."""

    def __init__(self, path: Path) -> None:
        self.cases = {}
        for case in ElementTree.parse(path).iter("testcase"):
            self.cases[case.attrib["name"]] = (case.attrib["status"], case.findtext("system-out"))

    def names(self, status: str) -> set[str]:
        return {name for name, (found, _) in self.cases.items() if found == status}

    def machines(self, prefix: str) -> dict[str, str]:
        """Which machine each test says that it comes from."""
        said = {
            name: re.findall(r"^machine of (\d+)$", output, re.MULTILINE)
            for name, (_, output) in self.cases.items()
            if name.startswith(prefix)
        }
        assert all(len(found) <= 1 for found in said.values()), said
        return {name: found[0] for name, found in said.items() if found}


def check_outcomes(report: Report, said: str) -> None:
    """All entries were run in forks of one machine for each program, and ended as they should."""
    assert report.names("fail") == {"fixture.Machine.Fails.forked"}, said
    assert report.names("notrun") == {"fixture.Machine.SkipsWhatItCannot.forked"}, said
    assert report.names("disabled") == {
        "fixture.Machine.Fails#2.forked",
        "fixture.Off.Fails.forked",
    }
    assert len(report.names("run")) == len(report.cases) - 4 == 18, said
    assert "index 0 of 1" in report.cases["fixture.Machine.IsTheOnlyOne.forked"][1]
    # Every test says what its machine drew when it was set up: the same in all of a program.
    fixture, plain = report.machines("fixture."), report.machines("Plain.")
    assert len(fixture) == 16, said
    assert len(set(fixture.values())) == 1, fixture
    assert len(plain) == 2, said
    assert len(set(plain.values())) == 1, plain
