"""What a kept machine's key is made of, and what is told again in its place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import spore
from spore._pytest import frames, warm
from spore._pytest.base_image import GivenImage
from spore._pytest.said import Printed

Run = Callable[..., pytest.RunResult]
Parts = dict[str, str]
PartsOf = Callable[..., Parts]


@pytest.fixture
def parts_of(pytester: pytest.Pytester, forked: Run, monkeypatch: pytest.MonkeyPatch) -> PartsOf:
    """Runs pytest in the double, and answers the key of the machine that it would have kept."""
    kept = pytester.path.parent / "kept.json"
    monkeypatch.setenv("SPORE_DOUBLE_KEPT", str(kept))
    pytester.makepyfile("def test_a(): pass\ndef test_b(): pass")

    def run(*arguments: str, fork: str = "--spore-fork=2") -> Parts:
        kept.unlink(missing_ok=True)
        # Not as pytester does it: it gives each run a --basetemp of its own.
        command = [sys.executable, "-m", "pytest", "-p", "spore_double", fork, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, 1, 2), done.stdout + done.stderr
        parts: Parts = json.loads(kept.read_text())["parts"]
        return parts

    return run


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def test_an_unchanged_run_has_the_same_key(parts_of: PartsOf, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(): assert 0\ndef test_b(): pass")
    first = parts_of()
    assert changed(first, parts_of()) == set()  # though it has seen failures and durations now
    for arguments in (
        ("--spore-fresh",),
        ("--spore-timings",),
        ("--spore-html=page.html",),
        ("--spore-memory-budget=1G",),
    ):
        assert changed(first, parts_of(*arguments)) == set(), arguments
    assert changed(first, parts_of(fork="--spore-fork=5")) == set()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("-k", "test_a"), {"the command line"}),
        (("-x",), {"the command line"}),
        (("test_an_option_is_in_the_key.py::test_a",), {"the command line"}),
        (("--color=yes",), {"the command line", "colors"}),
        (("--spore-memory=2G",), {"the command line", "memory"}),
        (("--spore-cpus=3",), {"the command line", "CPUs"}),
        (("--spore-scope=class",), {"the command line"}),
        (("--spore-seed=1",), {"the command line"}),
        (("--spore-html", "page.html"), {"the command line"}),
    ],
    ids=lambda value: " ".join(sorted(value)),
)
def test_an_option_is_in_the_key(
    parts_of: PartsOf, arguments: tuple[str, ...], parts: set[str], pytester: pytest.Pytester
) -> None:
    name = next(iter(pytester.path.glob("test_*.py")))
    name.rename(name.with_name("test_an_option_is_in_the_key.py"))
    assert changed(parts_of(), parts_of(*arguments)) == parts


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("spore_memory = 2G", {"memory"}),
        ("spore_cpus = 3", {"CPUs"}),
        ("spore_setup = true", {"the command line"}),
        ("spore_env = A_NAME=value", {"the environment variable A_NAME"}),
    ],
)
def test_an_ini_value_is_in_the_key(
    parts_of: PartsOf, pytester: pytest.Pytester, line: str, parts: set[str]
) -> None:
    before = parts_of()
    pytester.makeini(f"[pytest]\naddopts = -p no:xdist\n{line}\n")
    assert changed(before, parts_of()) == parts


def test_every_environment_variable_is_in_the_key(
    parts_of: PartsOf, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    part = "the environment variable CI_RUN"
    without = parts_of()
    monkeypatch.setenv("CI_RUN", "1")
    first = parts_of()
    assert changed(without, first) == {part}
    monkeypatch.setenv("CI_RUN", "2")
    assert changed(first, parts_of()) == {part}
    # One that no machine gets is in no key.
    pytester.makeini("[pytest]\naddopts = -p no:xdist\nspore_env_exclude =\n  OTHER\n  CI_*\n")
    pytester.makepyfile(
        "import os\ndef test_a(): assert 'CI_RUN' not in os.environ\ndef test_b(): pass"
    )
    assert changed(without, parts_of()) == set()


def test_the_working_directory_is_in_the_key(
    parts_of: PartsOf, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    before = parts_of()
    (pytester.path / "below").mkdir()
    monkeypatch.chdir(pytester.path / "below")
    assert "the command line" in changed(before, parts_of(".."))


@pytest.mark.parametrize("option", ["--lf", "--ff", "--nf"])
def test_pytests_cache_is_in_the_key_of_those_who_ask_for_it(
    parts_of: PartsOf, pytester: pytest.Pytester, option: str
) -> None:
    pytester.makepyfile("def test_a(): assert 0\ndef test_b(): pass")
    plain = parts_of()
    parts_of(option)
    before = parts_of(option)
    pytester.makepyfile("def test_a(): pass\ndef test_b(): assert 0\ndef test_c(): pass")
    assert changed(before, parts_of(option)) == set()  # what it was told was the same
    after = parts_of(option)
    assert changed(before, after) == {"pytest's cache"}
    assert changed(plain, parts_of()) == set()


def test_what_other_plugins_remember_is_in_the_key(
    parts_of: PartsOf, pytester: pytest.Pytester
) -> None:
    before = parts_of()
    pytester.makeconftest("def pytest_sessionfinish(session): session.config.cache.set('my/x', 1)")
    parts_of()
    assert changed(before, parts_of()) == {"pytest's cache"}


def start(**values: Any) -> warm.Start:
    given: dict[str, Any] = {
        "plans": [],
        "argv": ["pytest"],
        "environment": {},
        "welcome": {"cache": {}, "color": False},
    }
    return warm.Start(**{**given, **values})


SETTINGS: Any = SimpleNamespace(memory=1, cpus=1)


def test_every_image_is_in_the_key_by_its_bytes(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("environment", "project")]
    for file in files:
        file.write_bytes(b"one")

    def parts() -> Parts:
        images = [(file.name, GivenImage(str(file), 3)) for file in files]
        return warm.key(start(), SETTINGS, "nest", images)

    before = parts()
    for file in files:
        file.write_bytes(b"two")
        assert changed(before, parts()) == {f"the image of the {file.name}"}
        before = parts()
    assert changed(before, warm.key(start(), SETTINGS, "nest", [])) == {
        f"the image of the {file.name}" for file in files
    }


def test_the_day_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = warm.key(start(), SETTINGS, "nest", [])
    assert before["the day"] == time.strftime("%Y-%m-%d")
    monkeypatch.setattr(time, "strftime", lambda *_: "2001-02-03")
    assert changed(before, warm.key(start(), SETTINGS, "nest", [])) == {"the day"}


def test_the_engine_is_in_the_key() -> None:
    assert changed(spore.engine_parts("kvm"), spore.engine_parts("nest")) == {"engine"}


def _program() -> Path:
    spore.engine_parts("nest")  # finds it
    return Path(os.environ["SPORE_BIN"]).resolve()


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("bin/spore", "Spore's program"),
        ("libexec/spore/spore-agent", "guest agent and modules"),
    ],
)
def test_spores_own_programs_are_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, part: str
) -> None:
    program = _program()
    before = spore.engine_parts("nest")
    for name in ("bin/spore", "libexec/spore/spore-agent"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy2(program.parent.parent / name, tmp_path / name)
    monkeypatch.setenv("SPORE_BIN", str(tmp_path / "bin/spore"))
    assert changed(before, spore.engine_parts("nest")) == set()
    with (tmp_path / file).open("ab") as changing:
        changing.write(b"x")
    assert changed(before, spore.engine_parts("nest")) == {part}


def test_the_guests_kernel_is_in_the_key(tmp_path: Path) -> None:
    kernels = sorted(Path("/boot").glob("vmlinuz-*"))
    if len(kernels) < 2:
        pytest.skip("only one kernel is installed")
    ask = "import json, spore; print(json.dumps(spore.engine_parts('nest')))"
    found = []
    for kernel in kernels:
        boot = tmp_path / kernel.name
        boot.mkdir()
        shutil.copy2(kernel, boot)
        script = 'mount --bind "$1" /boot && exec "$2" -c "$3"'
        inside = ["sh", "-c", script, "sh", str(boot), sys.executable, ask]
        done = subprocess.run(["unshare", "-m", *inside], capture_output=True, text=True)
        if "unshare failed" in done.stderr or "permission denied" in done.stderr:
            pytest.skip("no mount can be made here")
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    assert "guest kernel" in changed(found[0], found[1])


def test_a_recording_is_told_again_as_it_was_said() -> None:
    said = [
        {"type": "collected", "tests": ["a::ü", "b[\U0001f600]"], "points": [("", 0)]},
        Printed("stdout", bytes(range(256))),
        {"type": "message", "message": {"type": "printed"}},
        Printed("stderr", b""),
    ]
    recording = warm.Recording(7, 1.5, 2.5, said)  # type: ignore[arg-type]
    assert warm.Recording.decode(recording.encode()) == recording


def test_a_recording_that_is_none_is_refused() -> None:
    whole = warm.Recording(7, 1.5, 2.5, [{"type": "a"}, Printed("stdout", b"x")]).encode()
    for length in range(len(whole)):
        with pytest.raises(frames.FrameError):
            warm.Recording.decode(whole[:length])
    for at in range(len(whole)):
        for flip in (1, 0x20, 0x80):
            damaged = bytearray(whole)
            damaged[at] ^= flip
            try:
                warm.Recording.decode(bytes(damaged))
            except frames.FrameError:
                continue  # else another text, or number: the file of a spore says so
