"""spore_image: a root image of the user's own, below everything that comes from this host."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import pytest

_HEAD = 1028  # bytes in which both file systems have their mark
_SQUASHFS = (0, 0x73717368)
_EROFS = (1024, 0xE0F5E1E2)


@dataclass(frozen=True)
class GivenImage:
    """A root image that need not be built, as spore.build_image would answer it."""

    path: str
    bytes: int
    built: bool = False
    archive: bool = False


def place(config: pytest.Config) -> Path | None:
    """Where spore_image leads, if it is given."""
    text = str(config.getini("spore_image")).strip()
    return Path(os.path.abspath(config.rootpath / os.path.expanduser(text))) if text else None


def find(config: pytest.Config) -> GivenImage | Path | None:
    """The image that spore_image names, or a directory with a root file system to make it from.

    An OCI layout is made an image here, once.
    """
    path = place(config)
    if path is None:
        return None
    if (path / "oci-layout").exists():
        return _from_layout(path)
    if path.is_dir():
        return _root_directory(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise pytest.UsageError(
            f"spore_image={path}: {os.strerror(error.errno or 0)}: give a squashfs or erofs file,"
            " a directory with a root file system, or an OCI layout"
        ) from error
    if not any(_has_mark(head, *mark) for mark in (_SQUASHFS, _EROFS)):
        raise pytest.UsageError(
            f"spore_image={path}: neither squashfs nor erofs: make one with `mksquashfs DIRECTORY"
            " FILE`, or give the directory"
        )
    return GivenImage(str(path), size)


def _from_layout(path: Path) -> GivenImage:
    from spore._pytest import oci

    try:
        image, built = oci.make_image(path)
        return GivenImage(str(image), image.stat().st_size, built)
    except (oci.OciError, OSError) as error:
        raise pytest.UsageError(f"spore_image={path}: {error}") from error


def _root_directory(path: Path) -> Path:
    if not (path / "bin/sh").exists() and not (path / "bin/sh").is_symlink():
        raise pytest.UsageError(
            f"spore_image={path}: no root file system, for it has no bin/sh: give the directory"
            " that is to be / in the machine"
        )
    return path


def _has_mark(head: bytes, offset: int, mark: int) -> bool:
    return len(head) == _HEAD and struct.unpack_from("<I", head, offset) == (mark,)
