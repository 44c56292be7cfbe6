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
from spore._pytest import frames, waiting

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


_HARMLESS = (
    "import json, sys; from spore._pytest.waiting import harmless;"
    " print(json.dumps([harmless(sys.argv[1:]), 'good' in sys.modules]))"
)


def test_only_modules_whose_import_is_not_noticed_are_imported(tmp_path: Path) -> None:
    for name, text in _MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert run(tmp_path, _HARMLESS, *_MODULES) == [["good", "last"], False]
    assert run(tmp_path, _HARMLESS, "good", "missing", "last") == [["good", "last"], False]


def test_a_module_that_crashes_leaves_all_to_pytest(tmp_path: Path) -> None:
    (tmp_path / "crashes.py").write_text("import os; os.abort()")
    (tmp_path / "good.py").write_text("")
    assert run(tmp_path, _HARMLESS, "good", "crashes") == [[], False]


def test_after_many_attempts_what_comes_before_the_next_is_imported(tmp_path: Path) -> None:
    names = []
    for number in range(14):
        (tmp_path / f"good{number}.py").write_text("")
        (tmp_path / f"fails{number}.py").write_text("raise ValueError")
        names += [f"good{number}", f"fails{number}"]
    modules, _ = run(tmp_path, _HARMLESS, *names)
    assert modules == [f"good{number}" for number in range(11)]


_TELLS = """
import json, os, sys
def test_tells(tmp_path_factory):
    main = sys.modules["__main__"]
    told = {
        "argv": sys.argv, "path": sys.path, "directory": os.getcwd(), "main": main.__file__
        if hasattr(main, "__file__") else None, "spec": main.__spec__ and main.__spec__.name,
        "flags": tuple(sys.flags), "names": sorted(vars(main)),
        "orig_argv": getattr(sys, "orig_argv", None), "filters": len(sys.warnoptions),
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
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "TOLD": str(tmp_path / "plain")}
    arguments = ["-q", "test_it.py"]
    how = ["-m", "pytest"] if as_module else ["-c", waiting.PYTEST]
    plain = subprocess.run(
        [sys.executable, *flags, *how, *arguments],
        cwd=tmp_path / "project",
        env=environment,
        timeout=60,
    )
    assert plain.returncode == 0

    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, *flags, "-c", waiting.COMMAND],
            cwd=tmp_path,
            env={
                **environment,
                "TOLD": str(tmp_path / "waited"),
                "SPORE_CHANNEL_FD": str(theirs.fileno()),
            },
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        begin = {
            "type": "begin",
            "directory": str(tmp_path / "project"),
            "arguments": arguments,
            "module": as_module,
        }
        asked = {"type": "import", "modules": ["early", "no_such"]}
        ours.sendall(frames.encode(asked) + frames.encode(begin) + b"for pytest")
        decoder = frames.Decoder()
        answers: list[frames.Message] = []
        while not answers:
            answers = decoder.feed(ours.recv(65536))
        assert answers == [{"type": "imported", "modules": ["early"]}]
        assert process.wait(60) == 0
    told = [json.loads((tmp_path / name).read_text()) for name in ("plain", "waited")]
    assert told[1] == told[0]


_CONFTEST = """
import os
from spore._pytest.modules import Recorder
{before}
recorder = Recorder()
recorder.start()
import colorsys
os.environ["LATE"] = "1"
import sndhdr_like
import wave
def pytest_sessionfinish(session):
    with open("modules", "w") as file:
        file.write(" ".join(recorder.stop(session.config)))
"""


@pytest.mark.parametrize("changed", [False, True])
def test_modules_of_the_environment_are_recorded(pytester: pytest.Pytester, changed: bool) -> None:
    before = "import fractions\nos.environ['X'] = '1'" if changed else "import fractions"
    pytester.makeconftest(_CONFTEST.format(before=before))
    pytester.makepyfile(sndhdr_like="", test_it="def test(): pass")
    environment = {**os.environ, "PYTHONPATH": str(pytester.path)}
    command = [sys.executable, "-m", "pytest", "-q"]
    subprocess.run(command, cwd=pytester.path, env=environment, timeout=60, check=True)
    modules = (pytester.path / "modules").read_text().split()
    assert "wave" not in modules  # it may look at LATE
    assert "sndhdr_like" not in modules  # of the project
    assert not {"conftest", "test_it", "__main__", "spore"} & set(modules)
    assert not [name for name in modules if name.startswith(("spore.", "xdist", "pytest_cov"))]
    assert {"colorsys", "fractions", "pytest"} & set(modules) == (
        set() if changed else {"colorsys", "fractions", "pytest"}
    )
