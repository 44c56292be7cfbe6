"""Spores on disk from the shell and from Python: what needs no machine.

The sample is written here from what FORMAT.md says, by nobody's writer.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import spore

PAGE = 4096
OWN_ERROR = 125


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def document(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def zstd_frame(page: bytes) -> bytes:
    """One page as a Zstandard frame (RFC 8878) with one raw block."""
    size = (PAGE - 256).to_bytes(2, "little")
    return b"\x28\xb5\x2f\xfd\x60" + size + (PAGE << 3 | 1).to_bytes(3, "little") + page


def write_spore(path: Path, *, fill: int = 1, image: Path | None = None) -> Path:
    """A spore of 4 MiB of RAM whose page 3 is filled with a byte."""
    page = bytes([fill]) * PAGE
    (path / "sections").mkdir(parents=True)
    (path / "chunks").mkdir()
    (path / f"chunks/{digest(page)}.zst").write_bytes(zstd_frame(page))
    chunk = {"chunk": 0, "pages": f"{1 << 3:02x}" + "00" * 63, "sha256": digest(page)}
    contents = {
        "vm": document({"cpus": [{"rip": fill}]}),
        "agent": document({}),
        "ram": document({"size": 4 << 20, "base": "", "chunks": [chunk]}),
    }
    for content in contents.values():
        (path / f"sections/{digest(content)}.json").write_bytes(content)
    me = {
        "child_count": 1,
        "child_index": 0,
        "hostname": "",
        "name": "",
        "shard_count": 1,
        "shard_index": 0,
        "user": {},
    }
    images = []
    if image is not None:
        content = image.read_bytes()
        images = [{"sha256": digest(content), "bytes": len(content), "name": str(image)}]
    manifest = document(
        {
            "format": "spore",
            "version": 1,
            "created": 1_700_000_000,
            "created_by": "test_disk.py",
            "parent": "",
            "fork": None,
            "generation": {"number": 0, "id": "a" * 32, "parent_id": "", "parameters": me},
            "platform": {
                "architecture": "x86_64",
                "board": 1,
                "backend": "kvm",
                "cpu_vendor": "Vendor",
                "cpu_features": ["sse3"],
                "clock": "kvm-clock",
                "tsc_khz": 2_000_000,
                "memory_bytes": 4 << 20,
                "cpus": 1,
                "kernel_sha256": "b" * 64,
            },
            "images": images,
            "sections": {
                name: {"sha256": digest(content), "bytes": len(content)}
                for name, content in contents.items()
            },
            "annotations": {},
        }
    )
    (path / "manifest.json").write_bytes(manifest)
    (path / "manifest.sha256").write_text(f"{digest(manifest)}  manifest.json\n")
    return path


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    image = tmp_path / "root.squashfs"
    image.write_bytes(b"an image")
    return write_spore(tmp_path / "a", image=image)


class Shell:
    """Runs the program; its last answer stays."""

    def __init__(self, program: str) -> None:
        self.program = program

    def __call__(self, *words: object, status: int = 0) -> str:
        done = subprocess.run(
            [self.program, *map(str, words)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == status, done.stderr
        if status == OWN_ERROR:
            assert done.stderr.startswith("spore: ")
            assert done.stderr.count("\n") == 1
            assert done.stdout == ""
        return done.stderr if status == OWN_ERROR else done.stdout

    def json(self, *words: object, status: int = 0) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self(*words, "--json", status=status))
        return answer


@pytest.fixture
def shell(program: str) -> Shell:
    return Shell(program)


def test_inspect(shell: Shell, sample: Path) -> None:
    report = shell.json("inspect", sample, "--verify")
    assert report == spore.inspect(sample, verify=True)
    assert report["bad"] == []
    assert report["ram"][0]["pages"] == 1
    assert "1 page in 1 chunk" in shell("inspect", sample)
    (chunk,) = (sample / "chunks").iterdir()
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\0")
    assert shell.json("inspect", sample)["bad"] == []
    assert shell.json("inspect", sample, "--verify", status=1)["bad"][0]["path"] == str(chunk)
    assert f"BAD         {chunk}" in shell("inspect", sample, "--verify", status=1)
    assert "no such directory" in shell("inspect", sample / "none", status=OWN_ERROR)
    with pytest.raises(spore.NotFound):
        spore.inspect(sample / "none")


def test_fork_and_diff(shell: Shell, sample: Path, tmp_path: Path) -> None:
    kids = tmp_path / "kids"
    forks = shell.json("fork", sample, "--count", 3, "--out", kids, "--name", "n", "--user", "k=v")
    assert [child["path"] for child in forks["children"]] == [
        str(kids / name) for name in ("000000", "000001", "000002")
    ]
    fork = spore.inspect(kids / "000002")["fork"]
    assert fork is not None
    assert (fork["child_index"], fork["child_count"], fork["name"]) == (2, 3, "n-2")
    assert fork["user"] == {"k": "v"}
    assert "already" in shell("fork", sample, "--count", 1, "--out", kids, status=OWN_ERROR)
    assert "KEY=VALUE" in shell(
        "fork", sample, "-n", 1, "-o", tmp_path / "x", "--user", "k", status=OWN_ERROR
    )
    with pytest.raises(spore.InvalidArgument):
        spore.fork_on_disk(sample, 0, tmp_path / "x")
    more = spore.fork_on_disk(kids / "000000", 2, tmp_path / "more", user={"a": "b"})
    assert len(more["children"]) == 2

    assert shell("diff", sample, sample) == ""
    other = write_spore(tmp_path / "b", fill=2, image=tmp_path / "root.squashfs")
    difference = shell.json("diff", sample, other, status=1)
    assert difference == spore.diff(sample, other)
    assert difference["ranges"] == [{"offset": 3 * PAGE, "bytes": PAGE}]
    assert difference["fields"] == [
        {"part": "vm", "path": "/cpus/0/rip", "left": "1", "right": "2"}
    ]
    text = shell("diff", sample, other, status=1)
    assert "/cpus/0/rip: 1 | 2" in text
    assert shell("diff", sample, tmp_path / "none", status=OWN_ERROR)


def test_bundles(shell: Shell, sample: Path, tmp_path: Path) -> None:
    forks = spore.fork_on_disk(sample, 2, tmp_path / "kids")
    packed = shell.json("pack", sample, "-o", tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames()[0] == "bundle.json"
        assert "manifest.json" in tar.getnames()
        listed = tar.extractfile("bundle.json")
        assert listed is not None
        assert digest(listed.read()) == packed["digest"]
    assert shell("pack", sample, "-o", tmp_path / "b.tar").startswith(packed["digest"])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert "already" in shell("pack", sample, "-o", tmp_path / "a.tar", status=OWN_ERROR)

    out = tmp_path / "out"
    words = ("unpack", tmp_path / "a.tar", out, "--digest")
    assert "another" in shell(*words, "0" * 64, status=OWN_ERROR)
    assert not out.exists()
    assert shell.json(*words, packed["digest"])["path"] == str(out)
    assert spore.diff(sample, out)["same"]
    assert spore.inspect(out, verify=True)["images"][0]["found"].startswith(str(out))

    kids = [child["path"] for child in forks["children"]]
    tree = spore.pack(kids, tmp_path / "tree.tar", images=False)
    assert [entry["name"] for entry in tree["spores"][:2]] == ["000000", "000001"]
    unpacked = spore.unpack(tmp_path / "tree.tar", tmp_path / "tree", digest=tree["digest"])
    assert unpacked["spores"] == tree["spores"]
    assert spore.inspect(tmp_path / "tree/000001", verify=True)["bad"] == []
    (tmp_path / "bad.tar").write_bytes(b"x" * 1000)
    with pytest.raises(spore.Corrupt):
        spore.unpack(tmp_path / "bad.tar", tmp_path / "bad")


def test_bundles_through_pipes(shell: Shell, program: str, sample: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with subprocess.Popen([program, "pack", sample], stdout=subprocess.PIPE) as pack:
        unpack = subprocess.run([program, "unpack", "-", out], stdin=pack.stdout, timeout=60)
    assert (pack.returncode, unpack.returncode) == (0, 0)
    assert spore.inspect(out, verify=True)["bad"] == []
    # A reader that goes away is an error in one line.
    with subprocess.Popen(
        [program, "pack", sample], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as torn:
        assert torn.stdout is not None
        assert torn.stderr is not None
        torn.stdout.close()
        assert torn.stderr.read().startswith(b"spore: ")
    assert torn.returncode == OWN_ERROR


def test_a_killed_unpack_is_collected(shell: Shell, program: str, tmp_path: Path) -> None:
    image = tmp_path / "root.squashfs"
    image.write_bytes(b"\0" * (1 << 20))
    sample = write_spore(tmp_path / "a", image=image)
    bundle = subprocess.run([program, "pack", sample], capture_output=True, timeout=60).stdout
    folder = tmp_path / "work"
    folder.mkdir()
    with subprocess.Popen(
        [program, "unpack", "-", folder / "out"], stdin=subprocess.PIPE
    ) as unpack:
        assert unpack.stdin is not None
        # More than the pipe holds: when it is written, some of it has been taken.
        unpack.stdin.write(bundle[: len(bundle) - 2048])
        unpack.stdin.flush()
        os.kill(unpack.pid, signal.SIGKILL)
    (left,) = folder.iterdir()
    assert left.name.startswith(".out.")
    assert shell.json("gc", folder)["items"] == []  # it may be in the making
    found = shell.json("gc", folder, "--all")
    assert [item["path"] for item in found["items"]] == [str(left)]
    assert left.exists()
    assert "would be removed" in shell("gc", folder, "--all")
    assert "removed" in shell("gc", folder, "--all", "--delete")
    assert list(folder.iterdir()) == []


def test_gc_and_remove(shell: Shell, sample: Path, tmp_path: Path) -> None:
    extra = sample / f"chunks/{'0' * 64}.zst"
    extra.write_bytes(b"something")
    assert spore.gc(sample)["items"][0]["kind"] == "chunk"
    assert extra.exists()
    assert spore.gc(tmp_path, delete=True)["removed"]
    assert not extra.exists()
    assert "gc" in shell("gc", "--help")
    assert shell("gc", tmp_path / "none", status=OWN_ERROR)

    spore.fork_on_disk(sample, 1, tmp_path / "kids")
    with pytest.raises(spore.InvalidArgument, match="000000"):
        spore.remove(sample)
    spore.remove(tmp_path / "kids/000000")
    assert spore.remove(sample)["path"] == str(sample)
    assert not sample.exists()


def test_load_opens_a_session_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    class Session:
        @staticmethod
        def open(*, engine: str) -> Session:
            calls.append(engine)
            return Session()

        def load(self, path: str, *, kernel: str, flat: bool) -> str:
            calls.append((path, kernel, flat))
            return "a spore"

    core = sys.modules.get("spore._core") or __import__("spore._core")._core
    monkeypatch.setattr(core, "Session", Session)
    loaded: object = spore.load("x", engine="nest", flat=False)
    assert loaded == "a spore"
    assert calls == ["nest", ("x", "", False)]
