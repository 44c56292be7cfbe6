"""A clean Debian system of this machine's release in a directory, and commands in it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

BOUND = 900  # seconds for one command; only a hang gets there

# Namespaces of its own, so that nothing that is mounted or started there outlives them. The shell
# that stays is their process 1, and waits for what others left, until its input ends. It says what
# number it has here.
_INIT = """
set -e
read -r pid rest < /proc/self/stat
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/dev/shm"
mount -t tmpfs tmpfs "$1/run"
echo "$pid"
exec chroot "$1" sh -c 'exec 3<&0; cat <&3 & wait $!'
"""

# INITRD: the kernel package makes no initramfs, which Spore's machines do without.
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "INITRD": "No",
}
_UNREACHABLE = re.compile(r"Failed to fetch|Could not (resolve|connect)|Unable to connect")
_PROXIES = re.compile(r"(https?|ftp|no)_proxy", re.IGNORECASE)


def _output(*words: object, stdin: str | None = None) -> str:
    return subprocess.run(
        [str(word) for word in words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=True,
    ).stdout


def _release() -> str:
    return _output("sh", "-c", '. /etc/os-release; echo "${VERSION_CODENAME:-}"').strip()


def _sources(release: str) -> list[str]:
    """The archives of this release that apt uses here, as lines of a sources.list."""
    told = _output(
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)",
        "Created-By: Packages",
    )
    lines = set()
    # Where no key is named, apt answers with the name of the field.
    for uri, suite, component, key in re.findall(r"^(.+)\|(.+)\|(.+)\|(.*)$", told, re.MULTILINE):
        if suite.split("-")[0] == release:
            options = f"[signed-by={key}] " if key.startswith("/") else ""
            lines.add(f"deb {options}{uri} {suite} {component}")
    return sorted(lines)


def _apt_options() -> str:
    """How apt reaches its archives from here: proxies, certificates, and what it checks."""
    told = _output("apt-config", "dump", "--format", '%F "%v";%n', "Acquire")
    ours = re.compile(r"Acquire::(https?|ftp|Check-|Allow|Retries|ForceIPv)\S* \"[^\"]+\";")
    return "".join(f"{line}\n" for line in told.splitlines() if ours.fullmatch(line))


class CleanRoot:
    """A root directory in which commands run, in namespaces of their own."""

    def __init__(self, path: Path, backports: str | None, pid: str) -> None:
        self.path = path
        self.backports = backports
        self._pid = pid

    def run(self, *words: str, status: int = 0) -> str:
        done = self.attempt(*words)
        assert done.returncode == status, f"{words}\n{done.stdout}"
        return done.stdout

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        proxies = {name: value for name, value in os.environ.items() if _PROXIES.fullmatch(name)}
        return subprocess.run(
            ["nsenter", f"--target={self._pid}", "--mount", "--pid", "chroot", self.path, *words],
            env={**_ENVIRONMENT, **proxies},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BOUND,
        )

    def install(self, *packages: str) -> None:
        self.run("apt-get", "install", "-q", "-y", "--no-install-recommends", *packages)


@contextlib.contextmanager
def clean_root() -> Iterator[CleanRoot]:
    """Smallest that has apt; gone with all that was started in it at the end."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a clean Debian system")
    if shutil.which("mmdebstrap") is None:
        pytest.skip("making a clean Debian system needs mmdebstrap, which is not installed")
    release = _release()
    sources = _sources(release)
    if not sources:
        pytest.skip(f"apt has no archive of Debian '{release}' here; apt-get update may help")
    with tempfile.TemporaryDirectory(prefix="spore-root-") as directory:
        root, options = Path(directory, "root"), Path(directory, "apt.conf")
        options.write_text(_apt_options())
        try:
            # The lists stay for what is installed later, and nothing here must survive a power cut.
            _output("mmdebstrap", "--mode=root", "--variant=apt", "--skip=cleanup/apt",
                    f"--aptopt={options}", "--dpkgopt=force-unsafe-io", "--format=directory",
                    "", root, "-", stdin="\n".join(sources))  # fmt: skip
        except subprocess.CalledProcessError as error:
            if _UNREACHABLE.search(error.stderr):
                pytest.skip(f"no archive of Debian can be reached from here:\n{error.stderr}")
            raise AssertionError(f"mmdebstrap failed:\n{error.stderr}") from error
        suite = f"{release}-backports"
        with subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "sh", "-c", _INIT, "sh", root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as namespaces:
            pid = namespaces.stdout.readline().strip()
            if not pid:
                pytest.skip("namespaces of mounts and processes cannot be made here")
            has_backports = any(f" {suite} " in line for line in sources)
            yield CleanRoot(root, suite if has_backports else None, pid)
