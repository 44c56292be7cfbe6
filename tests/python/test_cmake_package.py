"""What `cmake --install` and CPack give to other projects. No machine is booted: where CTest runs
entries, a stand-in for spore-test runs their programs on this host."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
OUTSIDE = ROOT / "tests/packaging/outside"
BOUND = 120  # seconds for one command; only a hang gets there

# Runs what spore-test would run in a machine, if the machine has been prepared.
STAND_IN = """#!/bin/sh
prepared="$0.prepared"
for word; do
  [ "$word" != --prepare ] || { echo "$*" >> "$prepared"; exit 0; }
done
[ -e "$prepared" ] || { echo "no machine is prepared"; exit 125; }
while [ ! -f "$1" ] || [ ! -x "$1" ]; do shift; done
exec "$@"
"""

# The names that the stranger ones of outside/fixture_test.cc have in CTest, and their filters.
ODD_NAMES = {
    "Typed.HasAType<int>": "Typed/0.HasAType",
    "Typed.HasAType<std::vector<int [2], std::allocator<int [2]> >>": "Typed/1.HasAType",
    "Named/std::int*.HasAName": "Named/std??int?.HasAName",
    "Named/a-b.HasAName": "Named/a?b.HasAName",
    'Odd/Text.HasCharacters/"a;b"': "Odd/Text.HasCharacters/0",
    'Odd/Text.HasCharacters/"["': "Odd/Text.HasCharacters/1",
    'Odd/Text.HasCharacters/"]"': "Odd/Text.HasCharacters/2",
    r'Odd/Text.HasCharacters/"\"quoted\""': "Odd/Text.HasCharacters/3",
    r'Odd/Text.HasCharacters/"back\\"': "Odd/Text.HasCharacters/4",
    'Odd/Text.HasCharacters/"$HOME ${HOME}"': "Odd/Text.HasCharacters/5",
    'Odd/Text.HasCharacters/"# and \' and @x@"': "Odd/Text.HasCharacters/6",
    'Odd/Text.HasCharacters/"same"': "Odd/Text.HasCharacters/7",
    'Odd/Text.HasCharacters/"same"#2': "Odd/Text.HasCharacters/8",
}


def run(*words: object, env: dict[str, str] | None = None, status: int = 0) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BOUND,
    )
    assert done.returncode == status, f"{words}\n{done.stdout}"
    return done.stdout


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A directory that the first worker fills for all of them."""
    base = factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"cmake_{name}"
    directory.mkdir(exist_ok=True)
    with (directory / ".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / ".made").exists():
            make(directory)
            (directory / ".made").touch()
    return directory


@pytest.fixture(scope="module")
def build() -> Path:
    directory = ROOT / "build"
    if not (directory / "cmake/sporeConfig.cmake").exists():
        pytest.skip(f"Spore is not built in {directory}")
    return directory


@pytest.fixture(scope="module")
def installed(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("prefix with a space")
    run("cmake", "--install", build, "--prefix", prefix)
    return prefix


@pytest.fixture(scope="module")
def package(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("dpkg-shlibdeps") is None:
        pytest.skip("the tools that make Debian packages are not installed")

    def make(directory: Path) -> None:
        # gzip, since xz takes longer than all else.
        run("cpack", "--config", build / "CPackConfig.cmake", "-B", directory,
            "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip")  # fmt: skip

    directory = made_once(tmp_path_factory, "package", make)
    (file,) = directory.glob("*.deb")
    return file


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    run("dpkg-deb", "-x", package, root)
    return root


class Project:
    """A project that uses the Spore of a prefix."""

    def __init__(self, build: Path) -> None:
        self.build = build

    def configure(self, source: Path, prefix: Path) -> None:
        run("cmake", "-S", source, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug",
            "-DCMAKE_CXX_FLAGS_DEBUG=-O0", f"-DCMAKE_PREFIX_PATH={prefix}")  # fmt: skip

    def make(self, *targets: str) -> None:
        run("cmake", "--build", self.build, *(f"--target={target}" for target in targets))

    def entries(self) -> dict[str, dict]:
        """By name: command and properties."""
        told = json.loads(run("ctest", "--test-dir", self.build, "--show-only=json-v1"))
        found = {
            entry["name"]: {
                "command": entry.get("command"),  # none of what is not built
                **{each["name"]: each["value"] for each in entry["properties"]},
            }
            for entry in told["tests"]
        }
        assert len(found) == len(told["tests"]), "two entries have the same name"
        return found


@pytest.fixture(scope="module")
def project(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    def make(directory: Path) -> None:
        # Moved, so that nothing can depend on where it was installed.
        moved = shutil.copytree(installed, directory / "moved", symlinks=True)
        (moved / "bin/spore-test").write_text(STAND_IN)
        project = Project(directory / "build")
        project.configure(OUTSIDE, moved)
        project.make()

    return Project(made_once(tmp_path_factory, "project", make) / "build")


def test_each_test_has_an_entry_that_differs_in_its_filter_only(project: Project) -> None:
    entries = project.entries()
    machine = entries["fixture.fixture_test.machine.forked"]
    program, prepare, *arguments = machine["command"]
    assert Path(program).name == "spore-test"
    assert prepare == "--prepare"
    assert machine["FIXTURES_SETUP"] == ["fixture_test.machine"]
    assert sorted(machine["LABELS"]) == ["forked", "quick"]
    assert "TIMEOUT" not in machine, "the time that a test may take is none for a boot"

    assert {name: entries[f"fixture.{name}.forked"]["command"][-1] for name in ODD_NAMES} == {
        name: f"--gtest_filter={pattern}" for name, pattern in ODD_NAMES.items()
    }
    tests = {name: entry for name, entry in entries.items() if name.startswith("fixture.")}
    del tests["fixture.fixture_test.machine.forked"]
    assert len(tests) == len(ODD_NAMES) + 5
    for entry in tests.values():
        assert entry["command"][:-1] == [program, *arguments]
        assert entry["FIXTURES_REQUIRED"] == ["fixture_test.machine"]
        assert entry["TIMEOUT"] == 300
    disabled = {name for name, entry in tests.items() if entry.get("DISABLED")}
    assert disabled == {"fixture.Machine.Fails#2.forked", "fixture.Off.Fails.forked"}


def test_options_reach_spore_test_as_they_were_written(project: Project) -> None:
    entry = project.entries()["Plain.RunsAlone"]
    assert entry["command"][1:] == [
        "--jobs",
        "1",
        "--spore-dist=each",
        "--setup",
        'mkdir /tmp/warm; date +%s%N > "/tmp/warm/when"',
        "--data",
        str(OUTSIDE / "words.txt"),
        "--env",
        "IN_MACHINE=yes; $HOME",
        str(project.build / "plain_test"),
        "--gtest_also_run_disabled_tests",
        "--gtest_filter=Plain.RunsAlone",
    ]
    assert "Other.IsNotChosen" not in project.entries()


def test_ctest_runs_them_after_their_machine(project: Project) -> None:
    report = project.build / "report.xml"
    run("ctest", "--test-dir", project.build, "-j2", "--output-junit", report, status=8)
    statuses = {
        case.attrib["name"]: case.attrib["status"]
        for case in ElementTree.parse(report).iter("testcase")
    }
    assert {name for name, status in statuses.items() if status == "fail"} == {
        "fixture.Machine.Fails.forked"
    }
    assert {name for name, status in statuses.items() if status == "notrun"} == {
        "fixture.Machine.SkipsWhatItCannot.forked"
    }
    assert sum(status == "run" for status in statuses.values()) == len(ODD_NAMES) + 1 + 2 + 2
    # One test alone brings its machine along.
    said = run("ctest", "--test-dir", project.build, "-R", r"Plain\.RunsAlone")
    assert "plain_test.machine" in said
    assert "100% tests passed, 0 tests failed out of 2" in said


def test_programs_run_without_a_machine_too(project: Project) -> None:
    said = run(project.build / "fixture_test", "--gtest_filter=Machine.IsTheOnlyOne")
    assert said.count("setting up") == 1
    assert "index 0 of 1" in said
    for name in ("who_static", "who_shared"):
        assert run(project.build / name) == "index 0 of 1\n"
    needed = run("readelf", "-d", project.build / "who_shared")
    assert "libspore_guest.so.1" in needed


def test_what_changes_is_seen_by_the_next_build(installed: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    tests, lists = source / "some_test.cc", source / "CMakeLists.txt"
    tests.write_text("#include <gtest/gtest.h>\nTEST(Some, IsOld) {}\n")
    lists.write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(some LANGUAGES CXX)\nenable_testing()\n"
        "find_package(spore REQUIRED)\nadd_executable(some some_test.cc)\n"
        "target_link_libraries(some PRIVATE spore::gtest_main)\nspore_discover_tests(some)\n"
    )
    project = Project(tmp_path / "build")
    project.configure(source, installed)
    assert set(project.entries()) == {"some_NOT_BUILT"}
    project.make()
    assert set(project.entries()) == {"some.machine", "Some.IsOld"}
    with tests.open("a") as file:
        file.write("TEST(Some, IsNew) {}\n")
    project.make()
    assert set(project.entries()) == {"some.machine", "Some.IsOld", "Some.IsNew"}
    with lists.open("a") as file:
        file.write(
            "spore_discover_tests(some TEST_PREFIX again. TEST_FILTER *New NO_PRETTY_VALUES\n"
            '  WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" JOBS 2 MOUNT .:/mnt\n'
            "  EXTRA_ARGS $<TARGET_FILE_NAME:some> [[--a;b]])\n"
            "spore_discover_tests(some TEST_FILTER None.*)\n"
        )
    project.make()
    entries = project.entries()
    assert "some.machine-3" not in entries, "a machine for no test"
    again = entries["again.Some.IsNew"]
    assert again["FIXTURES_REQUIRED"] == ["some.machine-2"]
    assert again["WORKING_DIRECTORY"] == str(source)
    assert again["command"][1:] == [
        *("--jobs", "2", "--mount", f"{source}/.:/mnt", str(project.build / "some")),
        *("some", "--a;b", "--gtest_also_run_disabled_tests", "--gtest_filter=Some.IsNew"),
    ]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("fixture_test DIST some", "DIST some: say load, shard or each"),
        ("fixture_test JOB 2", "unknown or without a value: JOB"),
        ("nothing", "spore_discover_tests(nothing): there is no such target"),
        ("library", "spore_discover_tests(library): the target is no program"),
        ("fixture_test PROPERTIES LABELS", "PROPERTIES are pairs"),
    ],
)
def test_a_wrong_call_is_refused(
    installed: Path, tmp_path: Path, call: str, complaint: str
) -> None:
    assert complaint in refusal(installed, tmp_path, f"spore_discover_tests({call})")


def test_a_program_for_another_system_is_named(installed: Path, tmp_path: Path) -> None:
    said = refusal(
        installed, tmp_path, "set(CMAKE_CROSSCOMPILING ON)\nspore_discover_tests(fixture_test)"
    )
    assert "spore_discover_tests(fixture_test): the target is compiled for another system" in said


def refusal(installed: Path, tmp_path: Path, commands: str) -> str:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(wrong LANGUAGES NONE)\n"
        "find_package(spore REQUIRED)\nadd_executable(fixture_test IMPORTED)\n"
        f"add_library(library INTERFACE)\n{commands}\n"
    )
    command = [
        "cmake",
        "-S",
        tmp_path,
        "-B",
        tmp_path / "build",
        f"-DCMAKE_PREFIX_PATH={installed}",
    ]
    return " ".join(run(*command, status=1).split())


def test_a_program_that_cannot_be_asked_is_named(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.c").write_text("int main(void) { return 3; }\n")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(broken LANGUAGES C)\n"
        "find_package(spore REQUIRED)\nadd_executable(broken broken.c)\n"
        "spore_discover_tests(broken)\n"
    )
    build = tmp_path / "build"
    run("cmake", "-S", tmp_path, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={installed}")
    said = run("cmake", "--build", build, status=1)
    assert "spore_discover_tests(broken): this host was to run" in said
    assert "it ended with: 3" in said


def test_pkg_config_finds_the_library_where_it_lies(installed: Path, tmp_path: Path) -> None:
    # Where it was not installed, and without the space, which pkg-config would quote.
    moved = shutil.copytree(installed, tmp_path / "moved", symlinks=True)
    env = {"PKG_CONFIG_PATH": str(moved / "lib/pkgconfig"), "LD_LIBRARY_PATH": str(moved / "lib")}
    flags = run("pkg-config", "--cflags", "--libs", "spore-guest", env=env).split()
    for kind, more in {"shared": [], "static": ["-static"]}.items():
        program = tmp_path / kind
        run("cc", OUTSIDE / "who.c", "-o", program, *more, *flags)
        assert run(program, env=env) == "index 0 of 1\n"


def test_the_package_says_what_it_needs(package: Path, unpacked: Path) -> None:
    fields = dict(re.findall(r"^(\S+): (.*)$", run("dpkg-deb", "-f", package), re.MULTILINE))
    assert fields["Package"] == "spore"
    assert fields["Section"] == "devel"
    assert re.fullmatch(r".+ <\S+@\S+>", fields["Maintainer"])
    assert "qemu-system-x86" in fields["Recommends"]
    depends = set(re.findall(r"(?:^|, )([^ ,]+)", fields["Depends"]))
    assert "squashfs-tools" in depends
    needed = set()
    for file in (path for path in unpacked.rglob("*") if path.is_file()):
        if file.read_bytes()[:4] == b"\x7fELF":
            needed |= set(re.findall(r"NEEDED.*\[(.+)\]", run("readelf", "-d", file)))
    assert "libstdc++.so.6" in needed
    for library in needed:
        owners = run("dpkg-query", "-S", f"*/{library}")
        names = {line.split(":")[0] for line in owners.splitlines()}
        assert names & depends, f"{library} of {names} is not in {depends}"


def test_the_package_has_what_users_run_and_build_with(unpacked: Path, tmp_path: Path) -> None:
    usr = unpacked / "usr"
    assert {path.name for path in (usr / "bin").iterdir()} == {"spore", "spore-test"}
    helpers = {path.name for path in (usr / "libexec/spore").iterdir()}
    assert helpers == {"libspore_stack.so", "spore-agent", "spore-nest-init"}
    documents = {path.name for path in (usr / "share/doc/spore").iterdir()}
    assert documents == {"copyright", "changelog.gz"}
    assert (usr / "share/man/man1/spore-run.1.gz").exists()
    assert not list((usr / "share/man").rglob("*.1"))
    assert (usr / "share/lintian/overrides/spore").exists()
    for name in ("spore", "spore-test"):
        assert re.fullmatch(rf"{name} [\d.]+\n", run(usr / "bin" / name, "--version"))
    project = Project(tmp_path)
    project.configure(OUTSIDE, usr)
    project.make("fixture_test", "who_shared")
    assert run(project.build / "who_shared") == "index 0 of 1\n"
    command = project.entries()["fixture.fixture_test.machine.forked"]["command"]
    assert command[0] == str(usr / "bin/spore-test")
