"""The `spore` command's own words: help, completion, manual pages. No machine is needed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def spore_command(program: str) -> Callable[..., str]:
    def run(*words: str) -> str:
        done = subprocess.run(
            [program, *words], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    return run


def verbs(spore_command: Callable[..., str]) -> list[str]:
    return spore_command("complete", "--", "").split()


def test_every_verb_has_help_and_json(spore_command: Callable[..., str]) -> None:
    found = verbs(spore_command)
    assert {"run", "resume", "capture", "fork", "fanout", "pack", "list"} <= set(found)
    assert "monitor" not in found  # what people do not call
    without_json = {verb for verb in found if "--json" not in spore_command(verb, "--help")}
    # A worker speaks JSON anyhow; the shell's verbs have nothing to tell, and the others' have it.
    assert without_json == {"cache", "completion", "nest", "worker"}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["res"], ["resume"]),
        (["run", "--capture"], ["--capture", "--capture-on"]),
        (["nest", "st"], ["start", "status", "stop"]),
        (["run", "--", "--ver"], []),  # a command of the user's own
        (["no-such-verb", "x"], []),
    ],
)
def test_completion(spore_command: Callable[..., str], words: list[str], found: list[str]) -> None:
    assert spore_command("complete", "--", *words).split() == found


def test_bash_completes(spore_command: Callable[..., str], program: str) -> None:
    script = spore_command("completion", "bash") + (
        "COMP_WORDS=(spore inspect --ver); COMP_CWORD=2; _spore; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PATH": f"{Path(program).parent}:/usr/bin:/bin"},
    )
    assert done.stdout.split() == ["--verify"]


def test_manual_pages(spore_command: Callable[..., str], tmp_path: Path) -> None:
    spore_command("manual", str(tmp_path))
    pages = {page.stem for page in tmp_path.glob("*.1")}
    assert pages == {"spore"} | {f"spore-{verb}" for verb in verbs(spore_command)} | {
        f"spore-{group}-{verb}"
        for group in ("cache", "nest")
        for verb in spore_command("complete", "--", group, "").split()
    }
    page = (tmp_path / "spore-run.1").read_text()
    assert page.startswith(".TH spore-run 1 ")
    options = set(re.findall(r"--[a-z-]+", spore_command("run", "--help")))
    said = page.replace("\\-", "-")
    assert {option for option in options if option not in said} == set()
    if groff := shutil.which("groff"):
        done = subprocess.run(
            [groff, "-man", "-Tutf8", "-ww", tmp_path / "spore-run.1"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr == ""
