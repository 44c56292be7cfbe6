"""spore-test as users run it, in a nest of the tests' own."""

import os
import pathlib
import re
import subprocess
import tempfile

import pytest

# What GoogleTest and Bazel tell a program of its run: another one's, here.
_OF_A_RUN = re.compile(r"GTEST_|TEST_|TESTBRIDGE_|XML_OUTPUT_FILE")
BOUND = 600  # seconds for one run; only a hang gets there


class SporeTest:
    """The commands of one build directory, with a runtime directory."""

    def __init__(self, programs: pathlib.Path, runtime_dir: pathlib.Path) -> None:
        self.programs = programs
        self.env = {
            **{k: v for k, v in os.environ.items() if not _OF_A_RUN.match(k)},
            "SPORE_RUNTIME_DIR": str(runtime_dir),
            "SPORE_KEPT_LIMIT": "0M",  # most tests want a machine of their own, and leave none
        }

    def binary(self, name: str) -> str:
        path = self.programs / name
        if not path.exists():
            pytest.skip(f"{path} is not built")
        return str(path)

    def run(
        self,
        *words: str,
        env: dict[str, str] | None = None,
        cwd: pathlib.Path | None = None,
        typed: str = "",
    ) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(self.programs / "spore-test"), *words],
            cwd=cwd,
            env={**self.env, **(env or {})},
            input=typed,
            capture_output=True,
            text=True,
            timeout=BOUND,
        )

    def plainly(self, *words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            words,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BOUND,
        )

    def stop(self) -> None:
        subprocess.run(
            [str(self.programs / "spore"), "nest", "stop"], env=self.env, check=True, timeout=BOUND
        )


@pytest.fixture(scope="session")
def spore_test():
    spore = os.environ.get("SPORE_BIN")
    programs = (
        pathlib.Path(spore).parent if spore else pathlib.Path(__file__).parents[3] / "build" / "bin"
    )
    path = programs / "spore-test"
    assert os.access(path, os.X_OK), f"{path} is not built; set SPORE_BIN to the spore beside it"
    with tempfile.TemporaryDirectory(prefix="spore-gtest-", dir="/tmp") as directory:
        command = SporeTest(programs, pathlib.Path(directory))
        try:
            yield command
        finally:
            command.stop()
