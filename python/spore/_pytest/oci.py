"""Root images from OCI layouts: the layers of an image as one file system.

OCI image specification 1.1: image-layout.md, manifest.md, layer.md. Hostile bytes: all of the
layout. Nothing of it is unpacked on this host: those entries of the layers that no layer above
hides are copied into one archive, and sqfstar(1) makes that an image.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

_VERSION = b"1"  # of what is made of a layout
_MAX_DOCUMENT = 4 * 1024 * 1024
_MAX_LAYERS = 256
_MAX_ENTRIES = 2_000_000
_CHUNK = 1024 * 1024
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


class OciError(Exception):
    """Why a layout cannot be used: a sentence for people."""


def make_image(layout: Path) -> tuple[Path, bool]:
    """The squashfs file of the image in `layout`, in the cache; whether it was made now."""
    manifest_digest, layers = _find_layers(layout)
    name = hashlib.sha256(_VERSION + manifest_digest.encode()).hexdigest()
    path = cache_directory() / f"oci-{name}.squashfs"
    if path.exists():
        return path, False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if shutil.which("sqfstar") is None:
        raise OciError("sqfstar is missing, which makes the image: install squashfs-tools 4.5")
    for layer in layers:
        _check_digest(layer.path, layer.digest)
    shown = _shown(layers)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".oci-") as directory:
        made = Path(directory, "image")
        _write(layers, shown, made)
        made.chmod(0o644)
        made.replace(path)
    return path, True


def cache_directory() -> Path:
    """As core/src/image/cache.h finds it."""
    if chosen := os.environ.get("SPORE_CACHE_DIR"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if base.startswith("/") else Path.home() / ".cache", "spore")


# ---- documents --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    path: Path
    digest: str
    compression: str  # "", "gzip" or "zstd"


def _find_layers(layout: Path) -> tuple[str, list[_Layer]]:
    """The manifest's digest, and the layers, the lowest first."""
    index = _document(layout / "index.json", None)
    digest = _choose(layout, index, depth=2)
    manifest = _document(_blob(layout, digest), digest)
    try:
        described = list(manifest["layers"])
        layers = [
            _Layer(_blob(layout, layer["digest"]), layer["digest"], _compression(layer))
            for layer in described
        ]
    except (KeyError, TypeError) as error:
        raise OciError(f"the manifest {digest} has no list of layers") from error
    if not 0 < len(layers) <= _MAX_LAYERS:
        raise OciError(f"the manifest {digest} has {len(layers)} layers")
    return digest, layers


def _choose(layout: Path, index: dict[str, Any], depth: int) -> str:
    """The digest of the one manifest for Linux on this architecture."""
    wanted = _ARCHITECTURES.get(platform.machine(), platform.machine())
    found = []
    for entry in index.get("manifests") or []:
        if not isinstance(entry, dict):
            continue
        system = entry.get("platform")
        if isinstance(system, dict) and (system.get("os"), system.get("architecture")) != (
            "linux",
            wanted,
        ):
            continue
        found.append(entry)
    if len(found) != 1:
        raise OciError(
            f"it holds {len(found)} images for linux/{wanted}, where one is wanted: copy that one"
            " into a layout of its own (`skopeo copy`)"
        )
    digest = str(found[0].get("digest"))
    if "index" in str(found[0].get("mediaType")) or "manifest.list" in str(
        found[0].get("mediaType")
    ):
        if not depth:
            raise OciError("its indexes lie too deep in each other")
        return _choose(layout, _document(_blob(layout, digest), digest), depth - 1)
    return digest


def _compression(layer: dict[str, Any]) -> str:
    kind = str(layer["mediaType"])
    for name in ("gzip", "zstd"):
        if kind.endswith((f"+{name}", f".{name}")):
            return name
    if kind.endswith("tar"):
        return ""
    raise OciError(f"a layer is of the kind {kind!r}: only tar, with gzip or zstd, is known")


def _blob(layout: Path, digest: object) -> Path:
    match = _DIGEST.fullmatch(str(digest))
    if match is None:
        raise OciError(f"{digest!r} is no digest such as sha256:...")
    return layout / "blobs" / "sha256" / match[1]


def _document(path: Path, digest: str | None) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_DOCUMENT + 1)
        if digest is not None and f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise OciError(f"{path} is damaged: its digest is another")
        document = json.loads(data) if len(data) <= _MAX_DOCUMENT else None
    except (OSError, ValueError, RecursionError) as error:
        raise OciError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise OciError(f"{path} is no JSON object of an OCI layout")
    return document


def _check_digest(path: Path, digest: str) -> None:
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                found.update(data)
    except OSError as error:
        raise OciError(f"{path} cannot be read: {error.strerror}") from error
    if f"sha256:{found.hexdigest()}" != digest:
        raise OciError(f"{path} is damaged: its digest is another")


# ---- layers -----------------------------------------------------------------------------------


@dataclass
class _Above:
    """What the layers above one have, and so hide of it."""

    taken: set[str] = field(default_factory=set)  # paths
    leaves: set[str] = field(default_factory=set)  # of them, those that are no directories
    folders: set[str] = field(default_factory=set)  # directories that something is in
    gone: set[str] = field(default_factory=set)  # removed, with all that is in them
    opaque: set[str] = field(default_factory=set)  # directories that nothing below shows in

    def hides(self, path: str, is_directory: bool) -> bool:
        if path in self.taken or path in self.gone:
            return True
        if path in self.folders and not is_directory:
            return True
        return any(
            parent in self.leaves or parent in self.gone or parent in self.opaque
            for parent in _parents(path)
        )

    def add(self, other: _Above) -> None:
        self.taken |= other.taken
        self.leaves |= other.leaves
        self.folders |= other.folders
        self.gone |= other.gone
        self.opaque |= other.opaque


def _shown(layers: Sequence[_Layer]) -> list[dict[str, int]]:
    """For each layer, the paths of it that are seen, and the number of their entry."""
    above = _Above()
    shown: list[dict[str, int]] = []
    entries = 0
    for layer in reversed(layers):
        own, seen = _Above(), {}
        for number, entry in enumerate(_entries(layer)):
            entries += 1
            if entries > _MAX_ENTRIES:
                raise OciError(f"it has more than {_MAX_ENTRIES:,} files")
            path = _normal(entry.name)
            folder, _, name = path.rpartition("/")
            if name == _OPAQUE:
                own.opaque.add(folder)
            elif name.startswith(_WHITEOUT):
                own.gone.add(_join(folder, name[len(_WHITEOUT) :]))
            else:
                own.taken.add(path)
                own.folders.update(_parents(path))
                if not entry.isdir():
                    own.leaves.add(path)
                if not above.hides(path, entry.isdir()):
                    seen[path] = number  # of several, the last
        above.add(own)
        shown.append(seen)
    return shown[::-1]


def _write(layers: Sequence[_Layer], shown: Sequence[dict[str, int]], image: Path) -> None:
    """Makes the image from what is shown of the layers, the lowest first."""
    # As the engine makes its own: a guest may be a slow interpreter, which should not decompress.
    stored = ["-noI", "-noD", "-noF", "-noX"]
    root = ["-root-mode", "755", "-root-uid", "0", "-root-gid", "0"]
    command = ["sqfstar", "-quiet", "-no-progress", *stored, *root, str(image)]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors
        ) as process,
    ):
        assert process.stdin is not None
        with (
            contextlib.suppress(BrokenPipeError),
            process.stdin as stdin,
            tarfile.open(fileobj=stdin, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for level in range(len(layers)):
                _copy(layers, level, shown[level], archive)
        if process.wait() != 0:
            errors.seek(0)
            said = errors.read(2000).decode("utf-8", "replace").strip()
            raise OciError(f"sqfstar could not make the image: {said or process.returncode}")


def _copy(
    layers: Sequence[_Layer], level: int, seen: dict[str, int], archive: tarfile.TarFile
) -> None:
    for number, entry, data in _entries_with_data(layers[level]):
        path = _normal(entry.name)
        if seen.get(path) != number:
            continue
        entry.name = path or "."
        entry.pax_headers = {
            name: value for name, value in entry.pax_headers.items() if "xattr" in name
        }
        if entry.isreg():
            entry.type = tarfile.REGTYPE  # a sparse one is read whole
        if entry.islnk():
            target = _normal(entry.linkname)
            if target in seen:
                entry.linkname = target
            else:
                _copy_target(layers, level, target, entry, archive)
                continue
        archive.addfile(entry, data)


def _copy_target(
    layers: Sequence[_Layer],
    level: int,
    target: str,
    link: tarfile.TarInfo,
    archive: tarfile.TarFile,
) -> None:
    """Writes a hard link whose target is hidden by a layer above, or lies below, as a file."""
    for layer in reversed(layers[: level + 1]):
        for _, entry, data in _entries_with_data(layer):
            if entry.isreg() and _normal(entry.name) == target:
                entry.name, entry.type = link.name, tarfile.REGTYPE
                archive.addfile(entry, data)
                return
    raise OciError(f"the hard link {link.name!r} leads to {target!r}, which is in no layer")


def _entries(layer: _Layer) -> Iterator[tarfile.TarInfo]:
    for _, entry, _ in _entries_with_data(layer):
        yield entry


def _entries_with_data(
    layer: _Layer,
) -> Iterator[tuple[int, tarfile.TarInfo, IO[bytes] | None]]:
    try:
        with _opened(layer) as archive:
            for number, entry in enumerate(archive):
                yield number, entry, archive.extractfile(entry) if entry.isreg() else None
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise OciError(f"the layer {layer.path} cannot be read: {error}") from error


@contextlib.contextmanager
def _opened(layer: _Layer) -> Iterator[tarfile.TarFile]:
    if layer.compression != "zstd":
        compressed = bool(layer.compression)
        with (
            tarfile.open(layer.path, "r|gz") if compressed else tarfile.open(layer.path, "r|")
        ) as archive:
            yield archive
        return
    if shutil.which("zstd") is None:
        raise OciError("a layer is compressed with zstd, which is not installed")
    command = ["zstd", "-dcq", "--", str(layer.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                yield archive
        finally:
            process.kill()


def _normal(name: str) -> str:
    """A path below the root, without a slash at either end; the root is empty."""
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "//", ".")]
    if ".." in parts:
        raise OciError(f"the path {name!r} in a layer leads out of it")
    return "/".join(parts)


def _parents(path: str) -> Iterator[str]:
    at = path.rfind("/")
    while at > 0:
        yield path[:at]
        at = path.rfind("/", 0, at)
    if path:
        yield ""


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
