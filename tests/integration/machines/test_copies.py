"""`spore cp`, both ways, with a real guest's tar."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.nest

_OWN_ERROR = 125


def _tree(folder: Path) -> None:
    (folder / "sub").mkdir(parents=True)
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o751)
    (folder / "sub" / "näme with space").write_bytes(os.urandom(3 << 20))
    (folder / "link").symlink_to("sub")
    (folder / "sub").chmod(0o710)
    os.utime(folder / "run", (1_400_000_000, 1_400_000_000))


def _same(one: Path, other: Path) -> bool:
    return subprocess.run(["diff", "-r", "--no-dereference", one, other]).returncode == 0


def test_cp_of_a_directory_there_and_back(machines, web: str, tmp_path: Path) -> None:
    _tree(tmp_path / "tree")
    copied = machines.json("cp", "--json", str(tmp_path / "tree"), f"{web}:/srv")
    assert copied == {"entries": 5, "bytes": (3 << 20) + 10, "skipped": 0}
    listed = machines.exec(web, "stat -c '%a %U %Y' /srv/tree/run; stat -c %a /srv/tree/sub").stdout
    assert listed == "751 root 1400000000\n710\n"
    machines.json("cp", "--json", f"{web}:/srv/tree", str(tmp_path / "back"))
    assert _same(tmp_path / "tree", tmp_path / "back")
    run = (tmp_path / "back" / "run").stat()
    assert (run.st_mode & 0o7777, int(run.st_mtime)) == (0o751, 1_400_000_000)
    assert (tmp_path / "back" / "sub").stat().st_mode & 0o7777 == 0o710
    # Once more: the name is there now, so it goes into it; the content only; a relative path.
    done = machines.run("cp", f"{web}:srv/tree/sub", "back", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert _same(tmp_path / "tree" / "sub", tmp_path / "back" / "sub")
    assert machines.run("cp", f"{web}:/srv/tree/.", str(tmp_path / "back" / "sub")).returncode == 0
    assert (tmp_path / "back" / "sub" / "run").exists()


def test_cp_of_a_file(machines, web: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("first")
    assert machines.run("cp", str(tmp_path / "file"), f"{web}:/root/other").returncode == 0
    (tmp_path / "file").write_text("second")
    assert machines.run("cp", "file", f"{web}:root", cwd=tmp_path).returncode == 0
    assert machines.exec(web, "cat /root/other /root/file").stdout == "firstsecond"
    assert machines.run("cp", f"{web}:/root/other", str(tmp_path)).returncode == 0
    assert (tmp_path / "other").read_text() == "first"


@pytest.mark.parametrize(
    ("source", "target", "code", "says"),
    [
        ("{tmp}/none", "{web}:/", "not_found", "there is no"),
        ("{web}:/none", "{tmp}/x", "not_found", "the guest has no /none"),
        ("{tmp}", "{web}:/etc/passwd", "invalid_argument", "is a file"),
        ("{tmp}", "{web}:/no/where", "not_found", "no directory /no in the machine"),
        ("{web}:/etc", "{tmp}/no/where", "not_found", "on this host"),
        ("{tmp}", "{tmp}/x", "invalid_argument", "NAME:PATH"),
        ("{web}:/etc", "{web}:/x", "invalid_argument", "NAME:PATH"),
        ("{tmp}", "none-such:/x", "not_found", "none-such"),
        ("{tmp}", "Bad:/x", "invalid_argument", "a name is"),
        ("{tmp}", "{web}:/proc/x", "internal", "tar"),
    ],
)
def test_cp_of_what_cannot_be(
    machines, web: str, tmp_path: Path, source: str, target: str, code: str, says: str
) -> None:
    words = [word.format(tmp=tmp_path, web=web) for word in (source, target)]
    done = machines.run("cp", "--json", *words)
    assert done.returncode == _OWN_ERROR
    error = json.loads(done.stdout)["error"]
    assert (error["code"], says in error["message"]) == (code, True), error


def test_cp_into_a_guest_without_tar(machines, web: str, tmp_path: Path) -> None:
    moved = machines.exec(web, "for d in /bin /usr/bin; do mv $d/tar $d/rat 2>/dev/null; done; :")
    assert moved.returncode == 0
    try:
        done = machines.run("cp", str(tmp_path), f"{web}:/")
        assert done.returncode == _OWN_ERROR
        assert "the guest has no tar" in done.stderr
    finally:
        machines.exec(web, "for d in /bin /usr/bin; do mv $d/rat $d/tar 2>/dev/null; done; :")
