"""spore-test with real machines: GoogleTest's own samples, a fixture point, and bad input."""

import json
import os
import shutil
import xml.etree.ElementTree as ElementTree

import pytest


def outcomes(path) -> list[tuple]:
    """All that an XML report says but for times."""
    timeless = []
    for element in ElementTree.parse(path).iter():
        attributes = {k: v for k, v in element.attrib.items() if k not in ("time", "timestamp")}
        if attributes.get("value_param", "").startswith("0x"):
            attributes["value_param"] = "a pointer"  # another value in every process
        timeless.append((element.tag, attributes, (element.text or "").strip()))
    return timeless


# The others run on processes of this host, in the runner's unit tests.
@pytest.mark.parametrize(("number", "dist"), [(3, "load"), (6, "shard"), (8, "each")])
def test_googletests_samples_have_the_same_outcomes(spore_test, tmp_path, number, dist):
    sample = spore_test.binary(f"gtest_samples/gtest_sample{number}")
    merged, plain = tmp_path / "merged.xml", tmp_path / "plain.xml"
    forked = spore_test.run(
        "--jobs=3", f"--spore-dist={dist}", sample, f"--gtest_output=xml:{merged}"
    )
    alone = spore_test.plainly(sample, f"--gtest_output=xml:{plain}")
    assert forked.returncode == alone.returncode, forked.stderr
    assert outcomes(merged) == outcomes(plain)


def test_a_fixture_is_set_up_once_and_no_test_sees_another(spore_test, tmp_path):
    report = tmp_path / "report.json"
    done = spore_test.run(
        "--shards",
        "8",
        "--timings",
        spore_test.binary("word_index_fixture_test"),
        f"--gtest_output=json:{report}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("indexed 300000 words") == 1
    assert "[  PASSED  ] 8 tests.\n" in done.stdout
    assert "8 children" in done.stderr
    assert "fork, medians of 8 in ms: shell" in done.stderr
    phases = json.loads(report.read_text())["spore"]["fork_phases"]
    assert phases["agent_ms"] > phases["user_ms"] > 0


def test_an_unchanged_binary_starts_from_its_kept_machine(spore_test, tmp_path):
    binary = shutil.copy(spore_test.binary("word_index_fixture_test"), tmp_path)
    keeping = {"SPORE_KEPT_LIMIT": "8G"}
    prepared = spore_test.run("--prepare", "--timings", binary, env=keeping)
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    assert "indexed" not in prepared.stdout
    assert "booted once" in prepared.stderr
    assert "kept for the next run" in prepared.stderr
    words = ("--jobs=1", "--timings", binary, "--gtest_filter=Search.*")
    warm = spore_test.run(*words, env=keeping)
    assert warm.returncode == 0, warm.stdout + warm.stderr
    assert "went on from the kept machine" in warm.stderr
    assert warm.stdout.count("indexed 300000 words") == 1
    assert "[  PASSED  ] 2 tests.\n" in warm.stdout
    os.utime(binary)  # not what is in it
    with open(binary, "ab") as file:
        file.write(b"changed")
    changed = spore_test.run(*words, env=keeping)
    assert changed.returncode == 0, changed.stdout + changed.stderr
    assert "booted once" in changed.stderr
    assert "differs in the root image, the test binary\n" in changed.stderr


def test_a_suite_is_set_up_once_and_every_test_starts_behind_that(spore_test):
    done = spore_test.run(
        "--scope=suite",
        "--spore-dist=each",
        "--jobs=2",
        "--timings",
        spore_test.binary("word_suites_fixture_test"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("indexed 100000 words") == 1
    assert done.stdout.count("opened the journal") == 1
    assert "[  PASSED  ] 5 tests.\n" in done.stdout
    assert ", 2 suites set up once in " in done.stderr


@pytest.mark.long
def test_an_unmodified_binary_is_set_up_in_each_child(spore_test):
    done = spore_test.run("--shards", "8", spore_test.binary("word_index_plain_test"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("indexed 300000 words") == 8


def test_setup_and_data_reach_the_children(spore_test, tmp_path):
    (tmp_path / "data").write_text("from the host")
    done = spore_test.run(
        "--setup",
        f"cat {tmp_path}/data && touch /tmp/once",
        "--data",
        str(tmp_path),
        spore_test.binary("gtest_samples/gtest_sample1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "from the host" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--shards", "0", "/bin/true"], "--shards 0"),
        (["/no/such/binary"], "/no/such/binary"),
        (["/etc/passwd"], "/etc/passwd"),
        (["/bin/true"], "is no GoogleTest program"),
        (["--scope=suite", "/bin/true"], "link spore_gtest_main"),
        (["--json=/proc/run.json", "/bin/true"], "no file can be written in /proc"),
        (["--html=/no/such/page.html", "/bin/true"], "no file can be written in /no/such"),
    ],
)
def test_bad_input_gets_one_clear_line(spore_test, words, says):
    done = spore_test.run(*words)
    assert done.returncode == 125
    assert done.stderr.startswith("spore-test: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
