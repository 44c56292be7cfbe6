"""A nest of the tests' own: its files in a directory of its own, ended with the tests."""

import os
import pathlib
import subprocess
import tempfile

import pytest

BOUND = 180  # seconds for one `spore` command; only a hang gets there


class Nest:
    """The `spore` command with a runtime directory."""

    def __init__(self, program: str, runtime_dir: pathlib.Path, **extra: str) -> None:
        self.program = program
        self.runtime_dir = runtime_dir
        self.env = {
            **os.environ,
            "SPORE_RUNTIME_DIR": str(runtime_dir),
            "SPORE_NEST_MEMORY": "1G",
            **extra,
        }

    def command(self, *words: str) -> list[str]:
        return [self.program, "nest", *words]

    def run(self, *words: str, **options) -> subprocess.CompletedProcess:
        options.setdefault("stdin", None if "input" in options else subprocess.DEVNULL)
        if "input" in options:
            options.pop("stdin")
        return subprocess.run(
            self.command(*words), env=self.env, capture_output=True, timeout=BOUND, **options
        )

    def exec(self, *words: str, **options) -> subprocess.CompletedProcess:
        return self.run("exec", "--", *words, **options)

    def popen(self, *words: str, **options) -> subprocess.Popen:
        return subprocess.Popen(
            self.command(*words),
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )


def make_nest(program: str, **extra: str):
    with tempfile.TemporaryDirectory(prefix="spore-nest-", dir="/tmp") as directory:
        nest = Nest(program, pathlib.Path(directory), **extra)
        try:
            yield nest
        finally:
            assert nest.run("stop").returncode == 0


@pytest.fixture(scope="session")
def nest(program):
    yield from make_nest(program)


@pytest.fixture
def own_nest(program):
    """One that the test may destroy."""
    yield from make_nest(program)


@pytest.fixture
def short_lived_nest(program):
    yield from make_nest(program, SPORE_NEST_IDLE="1")
