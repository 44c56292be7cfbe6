"""OCI layouts as root images: what is seen of the layers, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from spore._pytest import oci

HERE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]

# A file by its content; None: a directory; ("link", target), ("symlink", target).
Entry = tuple[str, Any]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPORE_CACHE_DIR", str(tmp_path / "cache"))


def tar_of(entries: Sequence[Entry]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, what in entries:
            entry = tarfile.TarInfo(name)
            entry.mtime = 1_600_000_000
            data = b""
            if what is None:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(what, tuple):
                entry.type = tarfile.LNKTYPE if what[0] == "link" else tarfile.SYMTYPE
                entry.linkname = what[1]
            else:
                data = what.encode()
                entry.size, entry.uid, entry.mode = len(data), 1234, 0o640
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


class Layout:
    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, kind: str = "") -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (self.path / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    def document(self, document: object, kind: str) -> dict[str, Any]:
        return self.blob(json.dumps(document).encode(), f"application/vnd.oci.image.{kind}.v1+json")

    def layer(self, entries: Sequence[Entry], compression: str = "") -> dict[str, Any]:
        data = tar_of(entries)
        if compression == "gzip":
            data = gzip.compress(data)
        elif compression == "zstd":
            data = subprocess.run(
                ["zstd", "-c"], input=data, capture_output=True, check=True
            ).stdout
        suffix = f"+{compression}" if compression else ""
        return self.blob(data, f"application/vnd.oci.image.layer.v1.tar{suffix}")

    def image(self, *layers: dict[str, Any]) -> dict[str, Any]:
        return self.document({"schemaVersion": 2, "layers": layers}, "manifest")

    def index(self, *images: dict[str, Any]) -> Path:
        (self.path / "index.json").write_text(json.dumps({"manifests": images}))
        return self.path


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def seen(image: Path, tmp_path: Path) -> dict[str, Any]:
    """What is in an image: as in Entry, but that hard links are files."""
    out = tmp_path / f"out-{image.stem[-8:]}"
    subprocess.run(["unsquashfs", "-q", "-n", "-d", out, image], check=True, capture_output=True)
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.is_symlink():
            found[name] = ("symlink", str(path.readlink()))
        else:
            found[name] = None if path.is_dir() else path.read_text()
    return found


def merged(layout: Layout, tmp_path: Path, *layers: Sequence[Entry]) -> dict[str, Any]:
    described = [layout.layer(entries) for entries in layers]
    image, built = oci.make_image(layout.index(layout.image(*described)))
    assert built
    return seen(image, tmp_path)


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_a_layer(layout: Layout, tmp_path: Path, compression: str) -> None:
    entries = [("bin", None), ("./bin/sh", "shell"), ("/etc/motd", "hello"), ("ü", "umlaut")]
    path = layout.index(layout.image(layout.layer(entries, compression)))
    image, built = oci.make_image(path)
    assert built
    assert seen(image, tmp_path) == {
        "bin": None,
        "bin/sh": "shell",
        "etc": None,
        "etc/motd": "hello",
        "ü": "umlaut",
    }
    listed = subprocess.run(["unsquashfs", "-lln", image], capture_output=True, text=True).stdout
    assert "-rw-r----- 1234/0" in listed
    assert listed.startswith("drwxr-xr-x 0/0"), listed
    assert "2020-09-13" in listed
    assert oci.make_image(path) == (image, False)
    assert [file.name for file in image.parent.iterdir()] == [image.name]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([[("a", "1"), ("b", "1")], [("a", "2")]], {"a": "2", "b": "1"}),
        ([[("a", "1")], [(".wh.a", "")]], {}),
        ([[("d", None), ("d/a", "1"), ("e", "1")], [(".wh.d", "")]], {"e": "1"}),
        (
            [[("d", None), ("d/a", "1")], [(".wh.d", ""), ("d", None), ("d/b", "2")]],
            {"d": None, "d/b": "2"},
        ),
        (
            [[("d", None), ("d/a", "1"), ("d/s/x", "1")], [("d/.wh..wh..opq", ""), ("d/b", "2")]],
            {"d": None, "d/b": "2"},
        ),
        ([[("d", None), ("d/a", "1")], [("d", "file")]], {"d": "file"}),
        ([[("d", "file")], [("d", None), ("d/a", "2")]], {"d": None, "d/a": "2"}),
        ([[("a", "1")], [(".wh.a", "")], [("a", "3")]], {"a": "3"}),
        ([[("a", "1")], [("a", "2")], [(".wh.a", "")]], {}),
        ([[("a", "1"), ("a", "2")]], {"a": "2"}),
        # A path of an upper layer does not go through a link of a lower one.
        ([[("x", ("symlink", "/tmp"))], [("x/y", "2")]], {"x": None, "x/y": "2"}),
        ([[("a", "1"), ("b", ("link", "a"))]], {"a": "1", "b": "1"}),
        ([[("a", "1"), ("b", ("link", "a"))], [("a", "2")]], {"a": "2", "b": "1"}),
        ([[("a", "1"), ("b", ("link", "./a"))], [(".wh.a", "")]], {"b": "1"}),
        ([[("a", "1")], [("b", ("link", "a"))]], {"a": "1", "b": "1"}),
        ([[("l", ("symlink", "../../etc"))]], {"l": ("symlink", "../../etc")}),
    ],
)
def test_what_layers_hide(
    layout: Layout, tmp_path: Path, layers: list[list[Entry]], expected: dict[str, Any]
) -> None:
    assert merged(layout, tmp_path, *layers) == expected


def test_the_image_of_this_architecture_is_taken(layout: Layout, tmp_path: Path) -> None:
    def for_(architecture: str, system: str = "linux") -> dict[str, Any]:
        image = layout.image(layout.layer([("is", f"{system}/{architecture}")]))
        return {**image, "platform": {"architecture": architecture, "os": system}}

    several = [for_("riscv64"), for_(HERE), for_(HERE, "windows"), for_("unknown", "unknown")]
    image, _ = oci.make_image(layout.index(*several))
    assert seen(image, tmp_path) == {"is": f"linux/{HERE}"}
    nested = layout.document({"manifests": several}, "index")
    assert oci.make_image(layout.index(nested)) == (image, False)
    for wrong in ([], [for_("riscv64")], [for_(HERE), for_(HERE)]):
        with pytest.raises(oci.OciError, match=r"it holds \d images for linux/"):
            oci.make_image(layout.index(*wrong))


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([("../out", "x")], "leads out of it"),
        ([("a/../../out", "x")], "leads out of it"),
        ([("a", ("link", "../out"))], "leads out of it"),
        ([("a", ("link", "nowhere"))], "which is in no layer"),
    ],
)
def test_hostile_entries_are_refused(layout: Layout, entries: list[Entry], why: str) -> None:
    path = layout.index(layout.image(layout.layer(entries)))
    with pytest.raises(oci.OciError, match=why):
        oci.make_image(path)
    assert list(oci.cache_directory().glob("*")) == []


def test_damage_is_noticed(layout: Layout) -> None:
    path = layout.index(
        layout.image(layout.layer([("a", "1")], "gzip"), layout.layer([("b", "2")]))
    )
    for blob in (path / "blobs/sha256").iterdir():
        whole = blob.read_bytes()
        for damaged in (whole[:-1], b"", whole[:20] + b"x" + whole[21:], whole + b" "):
            blob.write_bytes(damaged)
            with pytest.raises(oci.OciError, match=r"damaged|cannot be read"):
                oci.make_image(path)
        blob.unlink()
        with pytest.raises(oci.OciError, match="cannot be read"):
            oci.make_image(path)
        blob.write_bytes(whole)


def test_layers_that_are_no_archives_are_refused(layout: Layout) -> None:
    good = tar_of([("a", "x" * 5000)])
    for data in (b"", b"text" * 500, gzip.compress(good)[:-30], good[:1500]):
        for kind in ("tar", "tar+gzip", "tar+zstd", "zip", ""):
            layer = layout.blob(data, kind)
            path = layout.index(layout.image(layer))
            if (data, kind) == (b"", "tar"):
                continue  # an archive of nothing, to Python
            with pytest.raises(oci.OciError):
                oci.make_image(path)


@pytest.mark.parametrize("wrong", [None, 7, "text", [], {}, [7], [None], [{}], True, 1e400])
def test_documents_of_any_shape_are_refused(layout: Layout, wrong: object) -> None:
    good = layout.image(layout.layer([("a", "1")]))
    (layout.path / "index.json").write_text(json.dumps(wrong))
    with pytest.raises(oci.OciError):
        oci.make_image(layout.path)
    for name in ("digest", "mediaType", "platform"):
        changed = {**good, name: wrong}
        if name == "digest" or (name == "platform" and isinstance(wrong, dict)):
            with pytest.raises(oci.OciError):
                oci.make_image(layout.index(changed))
        else:
            oci.make_image(layout.index(changed))
    for document in (wrong, {"layers": wrong}, {"layers": [{**good, "digest": wrong}]}):
        with pytest.raises(oci.OciError):
            oci.make_image(layout.index(layout.document(document, "manifest")))
