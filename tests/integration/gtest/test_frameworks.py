"""Catch2 and doctest programs in real machines: outcomes, a crash, and a fixture point."""

import pathlib
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

OUTCOMES = {
    "a": "passed",
    "b": "failed",
    "c": "passed",
    "d": "failed",
    "e": "failed",
    "f": "passed",
}


@pytest.mark.parametrize(
    ("framework", "choice"), [("catch2", ["[dying]"]), ("doctest", ["-ts=dying", "-ns"])]
)
def test_tests_that_end_their_program_cost_one_each(spore_test, tmp_path, framework, choice):
    binary = spore_test.binary(f"../tests/unit/gtest_runner/runner_subject_{framework}_plain")
    report = tmp_path / "junit.xml"
    done = spore_test.run("--jobs=2", binary, "--", *choice, "-r=junit", f"-o={report}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert {
        case.get("name"): "passed" if case.find("failure") is None else "failed"
        for case in ElementTree.parse(report).iter("testcase")
    } == OUTCOMES
    assert "SIGSEGV" in done.stdout
    assert "exited with status 0 while this test ran." in done.stdout
    assert "test cases: 6 | 3 passed | 3 failed" in done.stdout
    assert "spore-stack" not in done.stderr
    assert "contradict" not in done.stderr


MAIN = r"""
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <cstdio>
#include "spore_test_arguments.h"
static int value = 0;
TEST_CASE("one, \"quoted\"") { CHECK(value++ == 42); }
TEST_CASE("two \\ back") { CHECK(value++ == 42); }
int main(int argc, char** argv) {
  value = 42;
  std::puts("set up");
  spore_fixture_point(nullptr);
  spore::TestArguments arguments(argc, argv);
  return doctest::Context(arguments.argc(), arguments.argv()).run();
}
"""


def test_a_main_of_ones_own_is_set_up_once(spore_test, tmp_path):
    source = tmp_path / "main.cc"
    source.write_text(MAIN)
    guest = spore_test.programs.parent / "guest" / "lib" / "libspore_guest.a"
    include = pathlib.Path(__file__).parents[3] / "guest" / "lib" / "include"
    binary = tmp_path / "fixture_test"
    subprocess.run(
        ["g++", "-std=c++11", "-O0", f"-I{include}", source, guest, "-o", binary], check=True
    )
    done = spore_test.run("--jobs=2", "--spore-dist=each", str(binary))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("set up\n") == 1
    assert "[doctest] test cases: 2 | 2 passed | 0 failed" in done.stdout
