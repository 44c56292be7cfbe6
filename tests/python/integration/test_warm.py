"""Warm starts in real machines: what is kept, what the next run does with it, and when not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.nest

_SUITE = """
import os, random, time, uuid
import pytest

@pytest.fixture(scope="session")
def prepared():
    print("preparing")
    return str(uuid.uuid4())

@pytest.mark.parametrize("number", range(4))
def test_tells(number, prepared, spore_artifacts, spore_child):
    told = [prepared, str(uuid.uuid4()), random.random(), time.time(), spore_child.generation.id]
    (spore_artifacts / "told").write_text(repr(told))
    assert os.environ.get("SIDE") != str(number), "the wrong side"
"""


class Project:
    """A project, and what is kept of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.printed = ""
        (directory / "pytest.ini").write_text("[pytest]\nspore_memory = 256M\n")
        (directory / "test_it.py").write_text(_SUITE)

    def edit(self, line: str) -> None:
        with (self.directory / "test_it.py").open("a") as file:
            file.write(f"\n{line}\n")

    def run(self, *arguments: str, status: int = 0, **variables: str) -> list[list[Any]]:
        """What the tests of one run told."""
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:randomly", "--spore-fork=2", *arguments],
            cwd=self.directory,
            env={**os.environ, "SPORE_KEPT_LIMIT": "8G", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        self.printed = done.stdout + done.stderr
        assert done.returncode == status, self.printed
        told = sorted(self.directory.glob("spore-artifacts/*/told"))
        return [eval(path.read_text()) for path in told]

    @property
    def warm(self) -> bool:
        return "once:    resumed in" in self.printed

    def kept(self, *, early: bool = False) -> list[dict[str, Any]]:
        """Its machines at the fixture point; with `early`, those before it as well."""
        listed = subprocess.run(
            [os.environ["SPORE_BIN"], "cache", "list", "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        machines: list[dict[str, Any]] = json.loads(listed.stdout)["machines"]
        label = f"pytest in {self.directory}"
        return [
            one
            for one in machines
            if one["label"] == label or (early and one["label"].startswith(label + ","))
        ]

    def clear(self) -> None:
        for one in self.kept(early=True):
            subprocess.run([os.environ["SPORE_BIN"], "cache", "clear", one["digest"]], check=True)


@pytest.fixture
def project(tmp_path: Path) -> Any:
    made = Project(tmp_path)
    yield made
    made.clear()


def test_the_next_run_starts_where_the_last_one_was_captured(project: Project) -> None:
    first = project.run()
    assert not project.warm
    assert "the machine is kept for the next run" in project.printed
    second = project.run()
    assert project.warm, project.printed
    assert "4 passed" in project.printed
    assert "session fixtures set up in" in project.printed
    prepared = {told[0] for told in first + second}
    assert len(prepared) == 1, "it was set up once for both"
    # All else is of its own run.
    assert len({told[1] for told in first + second}) == 8
    assert len({told[2] for told in first + second}) == 8
    assert len({told[4] for told in first} & {told[4] for told in second}) == 0
    assert all(abs(told[3] - time.time()) < 120 for told in second)


@pytest.mark.long
def test_an_edited_project_starts_from_a_booted_machine(project: Project) -> None:
    # In the nest it is quicker to boot, so this is not done there.
    conftest = "import spore._pytest.early as early; early._BOOTS_ANYWAY = ()"
    (project.directory / "conftest.py").write_text(conftest)
    project.run()
    assert "the machine (booted) is kept for other runs" in project.printed
    (project.directory / "conftest.py").write_text(conftest + "\nused = True")
    project.run()
    assert "once:    resumed a booted machine in" in project.printed
    assert "4 passed" in project.printed


@pytest.mark.long
def test_an_edited_project_finds_its_modules_imported(project: Project) -> None:
    project.edit("import colorsys")
    project.run()
    for number in (1, 2, 3):
        project.edit(f"def test_more_{number}(): pass")
        project.run()
        assert f"{4 + number} passed" in project.printed
        assert ("modules imported in" in project.printed) is (number > 1)
    # One that it does not know yet is imported by pytest, and known then.
    project.edit("import wave")
    for imports in (0, 1, 0):
        project.edit("")
        project.run()
        assert project.printed.count("modules that the last run imported") == imports
    # A module that reads variables would not have found this one.
    project.edit("import os; os.environ['A'] = 'b'")
    project.run()
    assert "7 passed" in project.printed
    assert "starting again without early imports: environment variables" in project.printed
    project.edit("")
    project.run()
    assert "once:    booted in" in project.printed
    assert "early imports" not in project.printed
    # A run of other conftest files knows nothing of what that one imports.
    (project.directory / "conftest.py").write_text("import os; os.environ['A'] = 'b'")
    project.run()
    assert "once:    booted in" in project.printed
    assert "modules that the last run imported" not in project.printed


@pytest.mark.long
def test_a_project_that_cannot_be_brought_is_there_at_the_boot(project: Project) -> None:
    conftest = "import spore._pytest.early as early; early._UNPACK = ('false',)"
    (project.directory / "conftest.py").write_text(conftest)
    project.run()
    assert "the project had to be there at the boot: tar in the machine failed" in project.printed
    assert "4 passed" in project.printed


@pytest.mark.long
def test_an_edit_makes_another_machine_and_a_fresh_one_replaces_it(project: Project) -> None:
    prepared = {project.run()[0][0]}
    project.edit("def test_more(): pass")
    third = project.run()
    assert not project.warm
    assert "it differs in the image of the project" in project.printed
    assert third[0][0] not in prepared
    fresh = project.run("--spore-fresh")
    assert not project.warm
    assert fresh[0][0] not in prepared | {third[0][0]}
    assert project.run()[0][0] == fresh[0][0]
    assert len(project.kept()) == 2


@pytest.mark.long
def test_a_kept_machine_that_is_damaged_is_not_started(project: Project) -> None:
    project.run()
    (kept,) = project.kept()
    machine = Path(kept["path"], "machine")
    (section,) = [
        path for path in machine.glob("sections/*") if '"cpus"' in path.read_text("latin-1")
    ][:1]
    section.write_bytes(section.read_bytes().replace(b'"cpus"', b'"sups"'))
    project.run()
    assert not project.warm
    assert "the machine that was kept cannot go on" in project.printed
    assert "the machine is kept for the next run" in project.printed
    project.run()
    assert project.warm


@pytest.mark.long
def test_failures_of_a_warm_run_are_kept_without_the_cache(project: Project) -> None:
    arguments = ("--spore-keep-failed=failed",)
    for run in (1, 2):
        project.run(*arguments, status=1, SIDE="2")
        assert project.warm is (run == 2), project.printed
        assert "the wrong side" in project.printed
    project.clear()
    failed = project.directory / "failed" / "2"
    for path in failed.iterdir():
        subprocess.run([os.environ["SPORE_BIN"], "inspect", "--verify", str(path)], check=True)


@pytest.mark.long
def test_nothing_is_kept_where_there_is_no_room(project: Project) -> None:
    project.run(SPORE_KEPT_LIMIT="1M")
    assert "SPORE_KEPT_LIMIT" in project.printed
    assert project.kept() == []
