"""Builds the programs whose outcomes are compared: GoogleTest's, and those of Debian's sources."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

_BOUND = 1800  # seconds for one build; only a hang gets there
_FOLDER = Path(__file__).parent
_ROOT = _FOLDER.parents[3]
_SOURCES = _FOLDER / "sources.txt"
_GOOGLETEST = Path("/usr/src/googletest")
# Not in the cache, which no image holds; and there the next run finds what this one built.
_BUILDS = _ROOT / "build" / "gtest-suites"

# What the build of a project needs to be told. Tests that compute much are slow in an emulator.
_OPTIONS = {
    "googletest": (
        *("-DCMAKE_CXX_FLAGS=-O0", "-DINSTALL_GTEST=OFF"),
        *("-Dgtest_build_tests=ON", "-Dgmock_build_tests=ON"),
    ),
    "snappy": (
        *("-DCMAKE_CXX_FLAGS=-O2 -DNDEBUG", "-DSNAPPY_BUILD_BENCHMARKS=OFF"),
        "-DSNAPPY_ENABLE_RTTI=ON",
    ),
    "benchmark": (
        *("-DCMAKE_CXX_FLAGS=-O1", "-DGIT_VERSION=0", "-DBENCHMARK_ENABLE_WERROR=OFF"),
        "-DBENCHMARK_USE_BUNDLED_GTEST=OFF",
    ),
    "leveldb": ("-DCMAKE_CXX_FLAGS=-O1", "-DLEVELDB_BUILD_BENCHMARKS=OFF"),
    "fmtlib": ("-DCMAKE_CXX_FLAGS=-O1", "-DFMT_DOC=OFF", "-DFMT_TEST=ON"),
}


def _has_digest(path: Path, digest: str) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


class _Sources:
    """Debian source packages, as sources.txt pins them."""

    def __init__(self) -> None:
        self._archives = _BUILDS / "archives"
        self._pins: dict[str, list[tuple[str, str]]] = {}
        self._versions: dict[str, str] = {}
        for digest, name in re.findall(
            r"^([0-9a-f]{64})  (\S+)$", _SOURCES.read_text(), re.MULTILINE
        ):
            package, version = name.split("_", 1)
            self._pins.setdefault(package, []).append((name, digest))
            if version.endswith(".dsc"):
                self._versions[package] = version.removesuffix(".dsc")

    def unpacked(self, package: str) -> Path:
        """The source tree of `package`, with Debian's patches."""
        for tool in ("apt-get", "dpkg-source"):
            if shutil.which(tool) is None:
                pytest.skip(f"there is no {tool} here, with which Debian's sources are fetched")
        tree = _BUILDS / f"{package}-{self._versions[package]}"
        if not tree.exists():
            if not self._are_whole(package):
                self._fetch(package)
            assert self._are_whole(package), f"apt-get did not bring {self._pins[package]}"
            unpacking = tree.parent / f"{tree.name}.unpacking"
            shutil.rmtree(unpacking, ignore_errors=True)
            tree.parent.mkdir(parents=True, exist_ok=True)
            description = f"{package}_{self._versions[package]}.dsc"
            subprocess.run(
                ["dpkg-source", "--extract", self._archives / description, unpacking],
                check=True,
                timeout=_BOUND,
            )
            unpacking.rename(tree)
        return tree

    def _are_whole(self, package: str) -> bool:
        return all(_has_digest(self._archives / name, sum_) for name, sum_ in self._pins[package])

    def _fetch(self, package: str) -> None:
        """From the archive that this machine is configured for, without changing how it is."""
        private = self._archives / "apt"
        for directory in ("parts", "lists/partial", "cache/archives/partial"):
            (private / directory).mkdir(parents=True, exist_ok=True)
        (private / "sources.list").write_text(self._archive_of_this_release())
        apt_get = [
            *("apt-get", "-q", "-o", f"Dir::Etc::SourceList={private}/sources.list"),
            *("-o", f"Dir::Etc::SourceParts={private}/parts"),
            *("-o", f"Dir::State::Lists={private}/lists", "-o", f"Dir::Cache={private}/cache"),
            # Its unprivileged user may not come to this directory.
            *("-o", "APT::Sandbox::User=root"),
        ]
        subprocess.run([*apt_get, "update"], check=True, timeout=_BOUND)
        subprocess.run(
            [*apt_get, "source", "--download-only", f"{package}={self._versions[package]}"],
            cwd=self._archives,
            check=True,
            timeout=_BOUND,
        )

    def _archive_of_this_release(self) -> str:
        release = Path("/etc/os-release").read_text()
        codename = re.search(r"^VERSION_CODENAME=(\w+)$", release, re.MULTILINE)
        if codename is None:
            pytest.skip("this is no release of Debian, whose source packages are pinned")
        format_ = "deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)"
        asked = ["apt-get", "indextargets", "--format", format_, f"Codename: {codename[1]}"]
        told = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=_BOUND)
        return "\n".join(sorted(set(told.stdout.splitlines()))) + "\n"


class Builds:
    """The test programs of projects, each built when it is first asked for."""

    def __init__(self) -> None:
        self._sources = _Sources()

    def source(self, project: str) -> Path:
        if project != "googletest":
            return self._sources.unpacked(project)
        if not _GOOGLETEST.exists():
            pytest.skip(f"there is no {_GOOGLETEST} (Debian: googletest)")
        return _GOOGLETEST

    def program(self, project: str, name: str) -> Path:
        directory = self._configured(project)
        self._make(directory, name)
        paths = [path for path in directory.rglob(name) if path.is_file()]
        assert len(paths) == 1, f"{name} is not one program in {directory}: {paths}"
        return paths[0]

    def _configured(self, project: str) -> Path:
        source = self.source(project)
        directory = _BUILDS / f"{source.name}-build"
        if (directory / "Makefile").exists():
            return directory
        options = list(_OPTIONS[project])
        if project == "leveldb":  # links its tests with benchmark
            library = self._configured("benchmark")
            self._make(library, "benchmark")
            options.append(f"-DCMAKE_EXE_LINKER_FLAGS=-L{library}/src")
        # Not with Ninja: snappy, as Debian patches it, has two rules for one library.
        subprocess.run(
            ["cmake", "-S", source, "-B", directory, "-DCMAKE_BUILD_TYPE=", *options],
            check=True,
            timeout=_BOUND,
        )
        return directory

    def _make(self, directory: Path, target: str) -> None:
        make = ["nice", "cmake", "--build", directory, "--target", target]
        subprocess.run(make, check=True, timeout=_BOUND)


@pytest.fixture(scope="session")
def builds() -> Builds:
    return Builds()
