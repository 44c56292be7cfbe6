"""Directories that come home from a machine: read there, checked and written here.

A directory travels as a parcel: the files in it in pieces, one "file" frame each, and a "parcel"
frame that says whose they are. They are gathered beside the place where they belong, and appear
there by one rename. Everything that arrives is hostile: no path leads out of the parcel, no link is
made, and counts and sizes are bounded.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from spore._pytest import frames

Send = Callable[..., None]
Stamp = tuple[int, int, int]
Put = Callable[[str], int]  # moves a parcel to a name, and answers how many files it has

MOST_FILES = 10_000  # of one parcel
MOST_BYTES = 256 * 1024**2
_PIECE = 256 * 1024
_DEEPEST = 64
_MOST_FILES_OF_RUN = 200_000
_MOST_BYTES_OF_RUN = 8 * 1024**3
LIMITS = f"at most {MOST_FILES} files of {MOST_BYTES // 1024**2} MiB in all; no links, no devices"


# ---- in the machine -------------------------------------------------------------------------


def send_directory(
    send: Send,
    place: str,
    name: str | int,
    directory: Path,
    *,
    known: Collection[tuple[Path, Stamp]] = (),
) -> None:
    """Sends the files below `directory` but those in `known`, as the parcel `name` for `place`."""
    parcel = uuid.uuid4().hex
    count = size = left_out = 0
    for path, status in regular_files(directory):
        if (path, stamp(status)) in known:
            continue
        fits = count < MOST_FILES and size + status.st_size <= MOST_BYTES
        sent = _send_file(send, place, parcel, directory, path, status.st_size) if fits else None
        if sent is None:
            left_out += 1
        else:
            count, size = count + 1, size + sent
    left_out += _links(directory) if place == "artifacts" else 0
    if count or left_out:
        send("parcel", place=place, parcel=parcel, name=name, left_out=left_out)


def regular_files(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """All files below `directory`, in a fixed order; links are not followed."""
    for parent, directories, names in os.walk(directory):
        directories.sort()
        for name in sorted(names):
            path = Path(parent, name)
            with contextlib.suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    yield path, status


def stamp(status: os.stat_result) -> Stamp:
    """Differs when a file has changed."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def _links(directory: Path) -> int:
    """How many links, pipes, sockets and devices are below `directory`."""
    return sum(
        not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
        for parent, directories, names in os.walk(directory)
        for mode in (Path(parent, name).lstat().st_mode for name in (*directories, *names))
    )


def _send_file(
    send: Send, place: str, parcel: str, directory: Path, path: Path, size: int
) -> int | None:
    """Sends the first `size` bytes of a file; how many there were, or None if it cannot be read."""
    name = path.relative_to(directory).as_posix()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    sent = 0
    with open(descriptor, "rb") as file:
        while True:
            try:
                data = file.read(min(_PIECE, size - sent))
            except OSError:
                return None
            if sent and not data:
                return sent
            text = base64.b64encode(data).decode("ascii")
            send("file", place=place, parcel=parcel, path=name, data=text)
            sent += len(data)
            if sent >= size:
                return sent


# ---- on the host ----------------------------------------------------------------------------


@dataclass
class _Parcel:
    """What has arrived of a parcel."""

    directory: Path
    files: set[str] = field(default_factory=set)
    size: int = 0


class Receiver:
    """Writes parcels into one directory, which `make` makes when the first file comes."""

    def __init__(self, directory: Path, make: Callable[[], object] | None = None) -> None:
        self._directory = directory
        self._make = make or (lambda: directory.mkdir(parents=True, exist_ok=True))
        self._incoming: Path | None = None
        self._parcels: dict[str, _Parcel] = {}
        self._files = self._bytes = 0
        self.full = False  # no more is taken in this run

    def take_file(self, message: frames.Message) -> None:
        """Writes one piece; FrameError if it is none."""
        path = checked_path(message["path"])
        try:
            data = base64.b64decode(message["data"], validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise frames.FrameError(f"a piece of a file is not base64: {error}") from error
        parcel = self._parcel(message["parcel"])
        if parcel is None:
            return
        new = path not in parcel.files
        self._files += new
        self._bytes += len(data)
        self.full |= self._files > _MOST_FILES_OF_RUN or self._bytes > _MOST_BYTES_OF_RUN
        if self.full:
            return
        parcel.files.add(path)
        parcel.size += len(data)
        if len(parcel.files) > MOST_FILES or parcel.size > MOST_BYTES:
            raise frames.FrameError(f"a directory is over its limits ({LIMITS})")
        target = parcel.directory / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb" if new else "ab") as file:
                file.write(data)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise frames.FrameError(f"{path!r} is a file and a directory") from error

    def finish(self, message: frames.Message) -> Put:
        """The end of a parcel: what puts it into its place under a name; answers how many files."""
        parcel = self._parcels.pop(_checked_id(message["parcel"]), None)

        def put(name: str) -> int:
            if parcel is None or not parcel.files or not parcel.directory.is_dir():
                return 0
            self._replace(self._directory / name, parcel.directory)
            return len(parcel.files)

        return put

    def close(self) -> None:
        """Removes what never came to its end."""
        if self._incoming is not None:
            shutil.rmtree(self._incoming, ignore_errors=True)

    def _parcel(self, text: object) -> _Parcel | None:
        name = _checked_id(text)
        if name not in self._parcels:
            self._files += 1  # its directory
            if self.full:
                return None
            if self._incoming is None:
                self._make()
                self._incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=self._directory))
            directory = self._incoming / name
            directory.mkdir()
            self._parcels[name] = _Parcel(directory)
        return self._parcels[name]

    def _replace(self, target: Path, source: Path) -> None:
        if target.is_symlink() or target.is_file():
            target.unlink()
        elif target.exists():
            old = source.with_name(source.name + "-old")
            target.rename(old)
            shutil.rmtree(old)
        source.rename(target)


def checked_path(text: object) -> str:
    """A path that leads to somewhere below the directory that it is relative to."""
    if not isinstance(text, str) or len(text) > 4096:
        raise frames.FrameError("a path is no text, or too long")
    parts = text.split("/")
    try:
        fits = all(0 < len(os.fsencode(part)) <= 255 for part in parts)
    except UnicodeEncodeError:
        fits = False
    if not fits or len(parts) > _DEEPEST or "\0" in text or {".", ".."} & set(parts):
        raise frames.FrameError(f"{text!r} is no path below a directory")
    return text


def _checked_id(text: object) -> str:
    if not isinstance(text, str) or not re.fullmatch(r"[0-9a-f]{32}", text):
        raise frames.FrameError("a parcel has no proper id")
    return text
