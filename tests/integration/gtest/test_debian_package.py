"""The Debian package on a clean system: apt installs it, a project is built and tested with it, and
apt removes it. All in a root directory of its own, where the package has its own nest."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from clean_root import CleanRoot, clean_root
from outside_project import EVERYTHING, Report, check_outcomes

pytestmark = pytest.mark.nest

ROOT = Path(__file__).parents[3]
OUTSIDE = ROOT / "tests/packaging/outside"
MARKED = ROOT / "packaging/debian-packages.txt"
BOUND = 600  # seconds; only a hang gets there

# What a project needs that is built with CMake and tested with GoogleTest.
PROJECT_NEEDS = ("cmake", "g++", "libgtest-dev", "make")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    spore = os.environ.get("SPORE_BIN", ROOT / "build/bin/spore")
    configuration = Path(spore).parents[1] / "CPackConfig.cmake"
    if not configuration.exists():
        pytest.skip(f"{configuration} is missing: that is no build of this project's own")
    if shutil.which("dpkg-shlibdeps") is None:
        pytest.skip("the tools that make Debian packages are not installed")
    # gzip, since xz takes longer than all else.
    done = subprocess.run(
        ["cpack", "--config", configuration, "-B", tmp_path / "package",
         "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BOUND,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (file,) = (tmp_path / "package").glob("*.deb")
    return file


def install_recommended(system: CleanRoot, *more: str) -> None:
    """The first choice of each, from the suite that Spore's own builds take it from, and more."""
    field = system.run("dpkg-query", "-W", "-f", "${Recommends}", "spore")
    names = {re.split(r"[ |]", choices.strip())[0] for choices in field.split(",")}
    assert "qemu-system-x86" in names
    if system.backports:
        marked = set(re.findall(r"^backports:(\S+)$", MARKED.read_text(), re.MULTILINE))
        system.install("-t", system.backports, *(names & marked))
        names -= marked
    system.install(*names, *more)


def ctest(system: CleanRoot, *words: str) -> tuple[int, str, Report]:
    done = system.attempt("ctest", "--test-dir", "/project/build", "-j2", "--timeout", "300",
                          "--output-on-failure", "--output-junit", "/project/report.xml",
                          *EVERYTHING, *words)  # fmt: skip
    return done.returncode, done.stdout, Report(system.path / "project/report.xml")


def test_a_clean_system_installs_uses_and_removes_it(package: Path) -> None:
    with clean_root() as system:
        shutil.copy(package, system.path / "spore.deb")
        shutil.copytree(OUTSIDE, system.path / "project/source")

        # What it depends on is all that its programs need to start.
        system.install("/spore.deb")
        assert system.run("spore", "--version").startswith("spore ")
        assert "spore-test [OPTIONS] BINARY" in system.run("spore-test", "--help")
        installed = [
            path for path in system.run("dpkg", "-L", "spore").splitlines() if "spore" in path
        ]
        assert "/usr/bin/spore-test" in installed

        install_recommended(system, *PROJECT_NEEDS)
        system.run("cmake", "-S", "/project/source", "-B", "/project/build")
        system.run("cmake", "--build", "/project/build", "-j2")
        # ldconfig was told of the library.
        assert system.run("/project/build/who_shared") == "index 0 of 1\n"

        status, said, report = ctest(system)
        assert status != 0, said
        check_outcomes(report, said)
        status, said, again = ctest(system, "-R", r"IsTheOnlyOne|Plain\.RunsAlone")
        assert status == 0, said
        assert again.machines("fixture.").items() <= report.machines("fixture.").items(), said
        assert again.machines("Plain.").items() <= report.machines("Plain.").items(), said

        system.run("spore", "nest", "stop")
        system.run("apt-get", "purge", "-q", "-y", "spore")
        assert not [path for path in installed if os.path.lexists(f"{system.path}{path}")]
        system.run("dpkg-query", "-W", "spore", status=1)
