"""Programs that sanitizers watch, or that count coverage, or are linked in unusual ways."""

import os
import re
import shutil
import subprocess

import pytest

CHILDREN = 3


def shell(*words) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


# A line of gcov -t, and one of llvm-cov show.
LINE = (
    re.compile(r" *(?P<count>[^:|]+): *(?P<number>\d+):(?P<code>.*)"),
    re.compile(r" *(?P<number>\d+)\| *(?P<count>[^|]*)\|(?P<code>.*)"),
)


def line_counts(text: str) -> dict[str, str]:
    """How often each line ran, but for tear_down(), which runs in every machine."""
    counts = {}
    is_left_out = False
    for line in text.splitlines():
        found = LINE[0].fullmatch(line) or LINE[1].fullmatch(line)
        if found is None or found["number"] == "0":  # what gcov says of the files
            continue
        is_left_out = is_left_out or "void tear_down()" in found["code"]
        if not is_left_out:
            counts[f"{found['number']}: {found['code']}"] = found["count"].strip()
        is_left_out = is_left_out and found["code"] != "}"
    return counts


def gcov_counts(prefix) -> dict[str, str]:
    (profile,) = prefix.rglob("*.gcda")
    notes = profile.with_suffix(".gcno")
    shutil.copy("/" / notes.relative_to(prefix), notes)
    return line_counts(shell("gcov", "-t", str(profile)))


def llvm_counts(profile, program) -> dict[str, str]:
    merged = profile.with_suffix(".profdata")
    shell("llvm-profdata", "merge", str(profile), "-o", str(merged))
    return line_counts(shell("llvm-cov", "show", program, f"-instr-profile={merged}"))


def test_a_sanitizers_report_fails_its_test_and_a_leak_the_run(spore_test):
    program = spore_test.binary("gtest_checked/address_fixture")
    tests = "--gtest_filter=Plain*:Wrong.UsesFreedMemory:Wrong.Leaks"
    done = spore_test.run("--jobs=2", "--spore-dist=each", program, tests)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "[  PASSED  ] 6 tests.\n" in done.stdout
    assert done.stdout.count("ERROR: AddressSanitizer: heap-use-after-free") == 1
    assert "in checked::use_freed_memory()" in done.stdout
    assert done.stdout.endswith("[  FAILED  ] Wrong.UsesFreedMemory\n\n 1 FAILED TEST\n")
    assert done.stderr.count("LeakSanitizer: detected memory leaks") == 1
    assert "exited with status 1 although none of its tests failed" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("variant", "test", "report"),
    [
        ("thread_fixture", "Wrong.Races", "WARNING: ThreadSanitizer: data race"),
        ("undefined", "Wrong.Overflows", "runtime error: signed integer overflow"),
    ],
)
def test_other_sanitizers_fail_one_test(spore_test, variant, test, report):
    program = spore_test.binary(f"gtest_checked/{variant}")
    done = spore_test.run("--jobs=2", program, f"--gtest_filter=Plain.*:{test}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "[  PASSED  ] 4 tests.\n" in done.stdout
    assert done.stdout.count(report) == 1


@pytest.mark.parametrize(
    ("scope", "tests"),
    [
        ("session", "Plain.*:Place.*"),
        pytest.param("suite", "Plain.*:Shared.*:Place.*", marks=pytest.mark.long),
    ],
)
def test_gcovs_counts_are_those_of_a_run_without_machines(spore_test, tmp_path, scope, tests):
    program = spore_test.binary("gtest_checked/gcov_fixture")
    (tmp_path / "testdata").mkdir()
    (tmp_path / "testdata" / "value").write_text("from-the-host\n")
    words = (program, f"--gtest_filter={tests}")
    forked, plain = tmp_path / "forked", tmp_path / "plain"
    done = spore_test.run(
        f"--jobs={CHILDREN}",
        f"--scope={scope}",
        "--data=testdata",
        *words,
        env={"GCOV_PREFIX": str(forked)},
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    subprocess.run(
        words,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "GCOV_PREFIX": str(plain)},
        capture_output=True,
        timeout=60,
    )
    counts = gcov_counts(plain)
    assert any(count.isdigit() and int(count) > 1 for count in counts.values())
    assert gcov_counts(forked) == counts


@pytest.mark.long
def test_clangs_counts_are_those_of_a_run_without_machines(spore_test, tmp_path):
    program = spore_test.binary("gtest_checked/llvm_fixture")
    words = (program, "--gtest_filter=Plain.*")
    done = spore_test.run(f"--jobs={CHILDREN}", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    plain = tmp_path / "plain.profraw"
    subprocess.run(
        words,
        check=True,
        env={**os.environ, "LLVM_PROFILE_FILE": str(plain)},
        capture_output=True,
        timeout=60,
    )
    counts = llvm_counts(plain, program)
    assert any(count.isdigit() and int(count) > 1 for count in counts.values())
    assert llvm_counts(tmp_path / "default.profraw", program) == counts


@pytest.mark.long
@pytest.mark.parametrize("variant", ["static", "private"])
def test_a_program_brings_what_it_is_linked_with(spore_test, variant):
    program = spore_test.binary(f"gtest_checked/{variant}")
    done = spore_test.run("--jobs=2", program, "--gtest_filter=Plain*")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[  PASSED  ] 5 tests.\n" in done.stdout
