"""Ini values that say what the machine is made of, with a double of the engine."""

from __future__ import annotations

import fnmatch
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from spore._pytest import environment
from spore._pytest.base_image import GivenImage

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def booted(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the double writes what its machine was made of."""
    monkeypatch.setenv("SPORE_DOUBLE_BOOT", str(pytester.path / "boot.json"))
    pytester.makepyfile("def test_a(): pass")
    return pytester.path / "boot.json"


@pytest.mark.parametrize(
    ("lines", "arguments", "memory", "cpus"),
    [
        ("", (), 1 << 30, 1),
        ("spore_memory = 512M\nspore_cpus = 2", (), 512 << 20, 2),
        (
            "spore_memory = 512M\nspore_cpus = 2",
            ("--spore-memory=2G", "--spore-cpus=1"),
            2 << 30,
            1,
        ),
        (
            "spore_memory = bad\nspore_cpus = bad",
            ("--spore-memory=2G", "--spore-cpus=1"),
            2 << 30,
            1,
        ),
    ],
    ids=["defaults", "ini", "options win", "what is not used need not be right"],
)
def test_memory_and_cpus(
    pytester: pytest.Pytester,
    forked: Run,
    booted: Path,
    lines: str,
    arguments: tuple[str, ...],
    memory: int,
    cpus: int,
) -> None:
    pytester.makeini(f"[pytest]\naddopts = -p no:xdist\n{lines}\n")
    assert forked(*arguments).ret == 0
    machine = json.loads(booted.read_text())
    assert (machine["memory"], machine["cpus"]) == (memory, cpus)


def test_a_number_in_pyproject(pytester: pytest.Pytester, forked: Run, booted: Path) -> None:
    (pytester.path / "tox.ini").unlink()
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nspore_cpus = 3\n")
    assert forked("-p", "no:xdist").ret == 0
    assert json.loads(booted.read_text())["cpus"] == 3


def test_the_help_names_the_ini_values(pytester: pytest.Pytester) -> None:
    shown = " ".join(pytester.runpytest_subprocess("--help").stdout.str().split())
    for name in ("spore_memory", "spore_cpus"):
        assert f"the ini value {name}" in shown
        assert f"{name} (string):" in shown


def _squashfs(path: Path) -> Path:
    path.write_bytes(b"hsqs".ljust(4096, b"\0"))
    return path


def test_an_image_lies_below_all_others(
    pytester: pytest.Pytester, forked: Run, booted: Path
) -> None:
    image = _squashfs(pytester.path / "base.squashfs")
    result = forked("-o", "spore_image=base.squashfs")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["images: * (base system 0.0 MiB cached, environment *)"])
    images = json.loads(booted.read_text())["images"]
    assert images[0] == str(image)
    assert set(images[1:]) == {"/double.squashfs"}


def _plans(config: pytest.Config) -> list[environment.ImagePlan]:
    return environment.plan_images(config)


def test_the_base_system_of_this_host_gives_way_to_an_image(pytester: pytest.Pytester) -> None:
    image = pytester.path / "base.erofs"
    image.write_bytes(bytes(1024) + (0xE0F5E1E2).to_bytes(4, "little"))
    base, interpreter, *_ = _plans(pytester.parseconfig("-o", f"spore_image={image}"))
    assert base.given == GivenImage(str(image), 1028)
    assert interpreter.arguments["pythons"] == [sys.executable]
    assert interpreter.arguments["base_system"] is False
    assert _plans(pytester.parseconfig())[0].arguments["base_system"] is True


def test_a_directory_becomes_an_image(pytester: pytest.Pytester) -> None:
    root = pytester.mkdir("root")
    (root / "bin").mkdir()
    (root / "bin/sh").symlink_to("busybox")  # not there either, on this host
    base, *_, project = _plans(pytester.parseconfig("-o", "spore_image=root"))
    assert base.arguments == {"mounts": [(str(root), "/")]}
    assert base.given is None
    # Once is enough.
    assert {str(root), f"{root}/*"} <= set(project.arguments["excludes"])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "spore_image=*/base: No such file or directory: give a squashfs or erofs file, *"),
        ({"base": "text"}, "spore_image=*/base: neither squashfs nor erofs: make one with *"),
        ({"base/oci-layout": "{}"}, "spore_image=*/base: */index.json cannot be read: *"),
        ({"base/etc/passwd": ""}, "spore_image=*/base: no root file system, for it has no bin/sh*"),
    ],
    ids=["nothing", "text", "OCI", "other directory"],
)
def test_what_is_no_image_is_refused(
    pytester: pytest.Pytester, forked: Run, files: dict[str, str], message: str
) -> None:
    for name, text in files.items():
        (pytester.path / name).parent.mkdir(parents=True, exist_ok=True)
        (pytester.path / name).write_text(text)
    pytester.makepyfile("def test_a(): pass")
    result = forked("-o", "spore_image=base")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = filter(None, result.errlines)
    assert fnmatch.fnmatch(line, f"ERROR: {message}")
