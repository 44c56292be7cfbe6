"""The main job, end to end: `./dev demo`.

1. A pytest suite whose session fixture starts a real PostgreSQL server and loads a data set:
   prepared once in a virtual machine, then eight child machines run a test each, and each ruins
   the data base.
2. A GoogleTest binary whose global environment builds an index of words: prepared once, eight
   shards.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / "build" / "bin"


def heading(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}{text}{plain}\n", flush=True)


def run(what: str, command: list[str], directory: Path) -> float:
    """Runs a part of the demo; ends it all, with the part's status, when it fails."""
    print("$ " + " ".join(command), flush=True)
    started = time.monotonic()
    # No machine of an earlier demo: all of the way is to be seen.
    variables = {"SPORE_BIN": str(BIN / "spore"), "SPORE_KEPT_LIMIT": "0M"}
    status = subprocess.run(command, cwd=directory, env={**os.environ, **variables})
    if status.returncode != 0:
        sys.exit(f"demo: {what} ended with status {status.returncode}")
    return time.monotonic() - started


def main() -> None:
    heading("1. pytest: one PostgreSQL server with its data, eight tests that each ruin it")
    pytest_seconds = run(
        "the pytest suite",
        [sys.executable, "-m", "pytest", "--spore-fork=8", "-v", "-p", "no:cacheprovider"],
        ROOT / "examples" / "postgres",
    )
    heading("2. GoogleTest: one index of words, eight shards that each own it")
    gtest_seconds = run(
        "the GoogleTest binary",
        [
            str(BIN / "spore-test"),
            "--shards=8",
            "--timings",
            str(BIN / "word_index_fixture_test"),
            "--gtest_brief=1",
        ],
        ROOT,
    )
    heading("What you saw")
    print(
        f"""\
Two machines were booted, one for each suite, and each was prepared once ({pytest_seconds:.0f} s and
{gtest_seconds:.0f} s in all, images and start of the nest included; unchanged images are kept, and
the nest stays warm for ten minutes). Sixteen children were forked from them. The lines above, under
"spore" and "spore-test", say how long each phase took and how much memory the children share.
Next: `pytest --spore-fork` in a project of yours; its second run starts from what the first
prepared."""
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
