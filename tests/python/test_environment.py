"""What the machine is given: images and environment, from a real configuration."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from spore._pytest import environment, options


def _plans(config: pytest.Config) -> dict[str, dict[str, list[str]]]:
    return {plan.name: dict(plan.arguments) for plan in environment.plan_images(config)}


def test_the_project_is_an_image_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nspore_exclude = big\n")
    plans = _plans(pytester.parseconfig())
    assert plans["environment"] == {
        "pythons": [sys.executable],
        "base_system": True,
        "excludes": [str(pytester.path), f"{pytester.path}/*"],
    }
    assert plans["project"]["paths"] == [str(pytester.path)]
    excludes = plans["project"]["excludes"]
    assert {"*/.git", "*/.git/*", f"{pytester.path}/big", f"{pytester.path}/big/*"} <= set(excludes)


def test_an_environment_in_the_project_stays_in_its_image(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = pytester.mkdir(".venv")
    pytester.mkdir("tests")
    config = pytester.parseconfig()
    monkeypatch.setattr(sys, "prefix", str(own))
    plans = _plans(config)
    assert plans["environment"]["excludes"] == [
        f"{pytester.path}/tests",
        f"{pytester.path}/tests/*",
    ]
    assert f"{own}/*" in plans["project"]["excludes"]


def test_named_tests_elsewhere_are_taken_along(pytester: pytest.Pytester, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "test_it.py"
    other.parent.mkdir()
    other.write_text("")
    config = pytester.parseconfig("--rootdir", str(pytester.path), str(other))
    assert set(_plans(config)["project"]["paths"]) == {str(pytester.path), str(other)}


def test_extra_paths_and_programs_are_told_apart(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = pytester.path / "tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    pytester.mkdir("data")
    pytester.makeini("[pytest]\nspore_paths =\n  uname ./tool\n  data\n")
    config = pytester.parseconfig()
    monkeypatch.setattr(sys, "path", [])
    assert _plans(config)["extra paths"] == {
        "programs": ["uname", str(program)],
        "paths": [str(pytester.path / "data")],
    }


def test_import_paths_outside_the_project_are_taken_along(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    config = pytester.parseconfig()
    monkeypatch.setattr(sys, "path", [str(library), str(pytester.path), str(library / "none"), ""])
    assert _plans(config)["extra paths"]["paths"] == [str(library)]


def test_what_means_nothing_in_a_machine_is_left_out(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nspore_env = LANG=C\n")
    given = {
        "PATH": "/own/bin",
        "HOME": "/home/me",
        "LANG": "de_DE.UTF-8",
        "VIRTUAL_ENV": "/venv",
        "PYTHONHASHSEED": "7",
        "TMPDIR": "/host/tmp",
        "SSH_AUTH_SOCK": "/x",
        "SPORE_BIN": "/x",
    }
    assert environment.guest_environment(pytester.parseconfig(), given) == {
        "PATH": "/own/bin",
        "HOME": "/home/me",
        "LANG": "C",
        "VIRTUAL_ENV": "/venv",
        "PYTHONHASHSEED": "7",
    }


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 512 << 20), ("2G", 2 << 30), ("1gib", 1 << 30), ("3MB", 3 << 20)]
)
def test_sizes(text: str, size: int) -> None:
    assert options.parse_size("--spore-memory", text) == size


@pytest.mark.parametrize("text", ["", "0G", "1", "1K", "-1G", "G"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(pytest.UsageError, match="not a size"):
        options.parse_size("--spore-memory", text)


def test_the_file_that_a_run_prints_into_is_no_part_of_the_project(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest("""
        from spore._pytest import environment
        def pytest_unconfigure(config):
            excludes = environment.plan_images(config)[-1].arguments["excludes"]
            (config.rootpath / "excludes").write_text(" ".join(excludes))
    """)
    pytester.runpytest_subprocess()
    excludes = (pytester.path / "excludes").read_text().split()
    assert {f"{pytester.path}/stdout", f"{pytester.path}/stderr"} <= set(excludes)


def test_what_runs_write_is_no_part_of_the_project(pytester: pytest.Pytester) -> None:
    config = pytester.parseconfig(
        "--spore-keep-failed=kept", "--spore-html=out/page.html", "--junitxml=report.xml"
    )
    *_, project = environment.plan_images(config)
    left_out = {f"{pytester.path}/{name}" for name in ("kept", "out/page.html", "report.xml")}
    assert left_out <= set(project.arguments["excludes"])  # type: ignore[call-overload]
