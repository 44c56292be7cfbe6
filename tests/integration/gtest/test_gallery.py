"""The gallery of failures, in real machines: it looks as the docs say, and can be looked into."""

import json
import pathlib
import re
import subprocess

from browser import CHROMIUM, count_rows, show_page

DOCS = pathlib.Path(__file__).parents[3] / "docs" / "gtest-runner.md"
COMMAND = re.compile(
    r"^\$ spore-test (?P<words>.*) build/bin/gallery_test 2> errors$", re.MULTILINE
)


def timeless(text: str) -> list[str]:
    """Lines without what differs in every run, or build: times, places, consoles, the C library."""
    text = re.sub(r"^(  .*::TestBody\(\)) at .*$", r"\1", text, flags=re.MULTILINE)
    text = re.sub(r"^  (?!.*::TestBody\(\)).* at .*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\(\d+ ms( total)?\)", r"(N ms\1)", text)
    text = re.sub(r"^\S*examples/gtest_gallery/", "", text, flags=re.MULTILINE)
    lines = [line for line in text.splitlines() if not re.match(r"\[ *\d+\.\d+\]|\.\.\.$", line)]
    return [line for line in lines if line]


def test_the_docs_show_what_the_user_sees(spore_test, tmp_path):
    docs = DOCS.read_text()
    command = COMMAND.search(docs)
    printed, errors = docs[command.end() : docs.index("\n```", command.end())].split(
        "\n$ cat errors\n"
    )
    kept, page, summary = tmp_path / "kept", tmp_path / "page.html", tmp_path / "run.json"
    words = command["words"].replace("--keep-failed kept", f"--keep-failed {kept}").split()
    words += ["--html", str(page), "--json", str(summary)]
    done = spore_test.run(*words, spore_test.binary("gallery_test"))
    assert done.returncode == 1, done.stderr
    assert timeless(done.stdout) == timeless(printed)
    said = done.stderr.replace(f"{kept}/", "kept/")
    assert sorted(timeless(said)) == sorted(timeless(errors))
    told = json.loads(summary.read_text())
    assert told["counts"]["crashed"] + told["counts"]["failed"] == 7
    outcomes = {test["name"]: test for test in told["tests"]}
    assert outcomes["Gallery.KillsItsMachine"]["outcome"] == "crashed"
    assert outcomes["Gallery.Hangs"]["kept"] == str(kept / "1" / "Gallery.Hangs")
    assert sum(len(child["lost"]) for child in told["children"]) == 1
    text = page.read_text()
    assert "Kernel panic - not syncing: sysrq triggered crash" in text
    assert f"spore run --from {kept}/1/Gallery.Aborts -- sh" in text
    if CHROMIUM is not None:
        assert count_rows(show_page(text, tmp_path)) == 11
    # The process stands where it crashed.
    look = (
        "read pid < /tmp/spore-failed.pid; status=/proc/$pid/status;"
        "until grep -q 'State:.T' $status; do sleep 0.1; done; grep State: $status"
    )
    crashed = kept / "1" / "Gallery.ReadsThroughANullPointer"
    seen = subprocess.run(
        [spore_test.programs / "spore", "run", "--from", crashed, "--", "sh", "-c", look],
        env=spore_test.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert seen.stdout == "State:\tT (stopped)\n", seen.stderr
    # So does a debugger, and where it hung.
    for test, function in (
        ("Gallery.ReadsThroughANullPointer", "Gallery_ReadsThroughANullPointer_Test::TestBody"),
        ("Gallery.Hangs", "Gallery_Hangs_Test::TestBody"),
    ):
        words = ["--keep-failed", str(kept), "--debug", test, spore_test.binary("gallery_test")]
        done = spore_test.run(*words, typed="bt\nquit\n")
        assert function in done.stdout, done.stderr
