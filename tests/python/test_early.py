"""The interpreter that imports modules and waits, and what is recorded for it; on this host."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from spore._pytest import early, frames, waiting

_MODULES = {
    "good": "value = 1",
    "prints": "print('hello')",
    "complains": "import sys; sys.stderr.write('hello')",
    "warns": "import warnings; warnings.warn('old', DeprecationWarning)",
    "fails": "raise ValueError",
    "leaves": "import sys; sys.exit()",
    "sets": "import os; os.environ['SET'] = '1'",
    "threads": "from threading import *; Thread(target=Event().wait, daemon=True).start()",
    "needs_warns": "import warns",
    "filters": "import warnings; warnings.filterwarnings('ignore', 'something')",
    "handles": "import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
    "extends": "import sys; sys.path.append('/nowhere')",
    "last": "import good",
}


def run(directory: Path, script: str, *arguments: str) -> Any:
    """What `script` prints as JSON, in `directory`."""
    environment = {**os.environ, "PYTHONPATH": str(directory)}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


_IMPORT = (
    "import json, sys; from spore._pytest.waiting import import_harmless;"
    " names = import_harmless(sys.argv[1:]);"
    " assert set(names) == set(sys.modules) & set(sys.argv[1:]), list(sys.modules);"
    " print(json.dumps(names))"
)


def test_only_modules_whose_import_is_not_noticed_are_imported(tmp_path: Path) -> None:
    for name, text in _MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert run(tmp_path, _IMPORT, *_MODULES) == ["good", "last"]
    assert run(tmp_path, _IMPORT, "good", "missing", "last") == ["good", "last"]


def test_what_pytest_rewrites_is_not_imported_for_others(tmp_path: Path) -> None:
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "__init__.py").write_text("")
    (tmp_path / "plugin" / "part.py").write_text("")
    (tmp_path / "uses_it.py").write_text("import plugin.part")
    (tmp_path / "good.py").write_text("")
    script = _IMPORT.replace("(sys.argv[1:]);", "(sys.argv[1:], ['plugin']);")
    assert run(tmp_path, script, "uses_it", "good") == ["good"]
    assert run(tmp_path, _IMPORT, "uses_it", "good") == ["uses_it", "good"]


def test_a_module_that_crashes_leaves_what_follows_to_pytest(tmp_path: Path) -> None:
    (tmp_path / "crashes.py").write_text("import os; os.abort()")
    for name in ("first", "fails", "second"):
        (tmp_path / f"{name}.py").write_text("1 / 0" if name == "fails" else "")
    assert run(tmp_path, _IMPORT, "first", "fails", "second", "crashes") == ["first"]


_TELLS = """
import json, os, sys, warnings
def test_tells(tmp_path_factory):
    main = sys.modules["__main__"]
    told = {
        "argv": sys.argv, "path": sys.path, "directory": os.getcwd(), "main": main.__file__
        if hasattr(main, "__file__") else None, "spec": main.__spec__ and main.__spec__.name,
        "flags": tuple(sys.flags), "names": sorted(vars(main)),
        "orig_argv": getattr(sys, "orig_argv", None), "filters": repr(warnings.filters),
        "next": os.read(int(os.environ["SPORE_CHANNEL_FD"]), 100).decode(),
    }
    with open(os.environ["TOLD"], "w") as file:
        json.dump(told, file)
"""


@pytest.mark.parametrize("flags", [[], ["-B"], ["-Xdev", "-Wdefault"]])
@pytest.mark.parametrize("as_module", [True, False])
def test_it_becomes_a_pytest_like_any_other(
    tmp_path: Path, flags: list[str], as_module: bool
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "test_it.py").write_text(_TELLS)
    (tmp_path / "project" / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "early.py").write_text("value = 3")
    arguments = ["-q", "test_it.py"]
    begin = {
        "type": "begin",
        "directory": str(tmp_path / "project"),
        "arguments": arguments,
        "module": as_module,
    }
    asked = {"type": "import", "modules": ["early", "no_such"], "rewritten": []}
    orders = frames.encode(asked) + frames.encode(begin)
    how = ["-m", "pytest"] if as_module else ["-c", waiting.PYTEST]
    for name, command, said, directory in (
        ("plain", [*how, *arguments], b"", tmp_path / "project"),
        ("waited", ["-c", waiting.COMMAND], orders, tmp_path),
    ):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(said + b"for pytest")  # which reads it: no byte of it is taken before
            process = subprocess.Popen(
                [sys.executable, *flags, *command],
                cwd=directory,
                env={
                    **os.environ,
                    "PYTHONPATH": str(tmp_path),
                    "TOLD": str(tmp_path / name),
                    "SPORE_CHANNEL_FD": str(theirs.fileno()),
                },
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
            assert process.wait(60) == 0
            ours.settimeout(10)
            if said:
                answers = frames.Decoder().feed(ours.recv(65536))
                assert answers == [{"type": "imported", "modules": ["early"]}]
    told = [json.loads((tmp_path / name).read_text()) for name in ("plain", "waited")]
    assert told[1] == told[0]


_CONFTEST = """
import os
from spore._pytest.modules import Recorder
{before}
recorder = Recorder()
recorder.start()
import colorsys, sndhdr_like
{after}
def pytest_sessionfinish(session):
    with open("modules", "w") as file:
        record = recorder.stop(session.config)
        file.write("|".join([record.unsuitable, *record.modules]))
"""


@pytest.mark.parametrize(
    ("before", "after", "unsuitable"),
    [
        ("", "", ""),
        ("", "os.environ['PYTEST_OWN'] = '1'", ""),
        ("os.environ['X'] = '1'", "", "environment variables change"),
        ("", "os.environ['X'] = '1'", "environment variables change"),
        ("", "os.environ['X'] = '1'; import wave; del os.environ['X']", "environment variables"),
        ("", "import sys; sys.path.insert(0, 'other')", "colorsys is found at another place"),
    ],
)
def test_modules_of_the_environment_are_recorded(
    pytester: pytest.Pytester, before: str, after: str, unsuitable: str
) -> None:
    pytester.makeconftest(_CONFTEST.format(before="import fractions; " + before, after=after))
    pytester.makepyfile(sndhdr_like="", test_it="def test(): pass")
    (pytester.mkdir("other") / "colorsys.py").touch()
    environment = {**os.environ, "PYTHONPATH": str(pytester.path)}
    command = [sys.executable, "-m", "pytest", "-q", "--ignore=other"]
    subprocess.run(command, cwd=pytester.path, env=environment, timeout=60, check=True)
    why, *modules = (pytester.path / "modules").read_text().split("|")
    assert why.startswith(unsuitable)
    assert bool(why) == bool(unsuitable)
    wanted = {"colorsys", "fractions", "pytest"}
    assert wanted & set(modules) == (set() if unsuitable else wanted)
    assert not {"sndhdr_like", "conftest", "test_it", "__main__", "spore"} & set(modules)
    assert not [name for name in modules if name.startswith(("spore.", "xdist", "pytest_cov"))]


@pytest.mark.parametrize("value", [None, 5, "name", {"a": 1}, [[["a"]]], [1, None]])
def test_what_a_guest_says_of_its_modules_is_checked(value: object) -> None:
    assert early.Wanted.read({"type": "fixture_point", "modules": value}) == early.Wanted([], [])
    asked = frames.encode({"type": "imported", "process": 1, "modules": [], "asked": value})
    notes = early._Notes.read(asked)
    assert notes == early._Notes(1, frozenset(), frozenset())


def test_notes_that_are_none_are_refused() -> None:
    whole = frames.encode({"type": "imported", "process": 7, "modules": ["a"], "asked": ["a"]})
    assert early._Notes.read(whole) == early._Notes(7, frozenset({"a"}), frozenset({"a"}))
    for data in (b"", whole[:-1], whole * 2, frames.encode({"type": "imported"})):
        assert early._Notes.read(data) is None
    odd = {"type": "imported", "process": [], "modules": ["a"], "asked": ["a"]}
    assert early._Notes.read(frames.encode(odd)) is None


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, ""),
        ({"unsuitable": "", "rewritten": ["other"]}, ""),
        ({"unsuitable": "variables change"}, "variables change"),
        (
            {"unsuitable": "", "rewritten": ["other", "plugin"]},
            "pytest rewrites plugin in this run",
        ),
        ({"unsuitable": 5, "rewritten": {"plugin": 1}}, "5"),
    ],
)
def test_a_run_that_should_not_have_had_the_imports_is_known(
    said: dict[str, Any], why: str
) -> None:
    nothing: Any = None
    started = early.Early(nothing, nothing, print, imported=frozenset({"plugin", "library"}))
    assert started.unsuitable({"type": "fixture_point", **said}) == why
