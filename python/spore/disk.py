"""What is answered about spores on disk: the dictionaries that ``spore VERB --json`` prints."""

from __future__ import annotations

from typing import TypedDict


class ForkFields(TypedDict):
    """Who a forked machine is to be."""

    child_index: int
    child_count: int
    shard_index: int
    shard_count: int
    name: str
    hostname: str
    user: dict[str, str]


class GenerationFields(TypedDict):
    """Which generation the captured machine was."""

    number: int
    id: str
    parent_id: str
    parameters: ForkFields


class Platform(TypedDict):
    """What a host must offer so that the machine can go on."""

    architecture: str
    board: int
    backend: str
    cpu_vendor: str
    cpu_features: list[str]
    clock: str
    tsc_khz: int
    memory_bytes: int
    cpus: int
    kernel_sha256: str


class Ancestor(TypedDict):
    """A parent, or a parent's parent."""

    id: str
    path: str


class RootImage(TypedDict):
    """A root image: ``name`` is where it was, ``found`` where it is (empty: missing)."""

    sha256: str
    bytes: int
    name: str
    found: str


class RamLayer(TypedDict):
    """What one spore stores of RAM: ``pages`` are 4 KiB, sizes are bytes on disk."""

    sha256: str
    path: str
    pages: int
    chunks: int
    file_bytes: int
    flat_bytes: int
    flat_proof: bool


class BadFile(TypedDict):
    """A file that is missing or damaged."""

    path: str
    why: str


class SporeReport(TypedDict):
    """What :func:`spore.inspect` finds."""

    id: str
    path: str
    created: int
    created_by: str
    parents: list[Ancestor]
    generation: GenerationFields
    fork: ForkFields | None
    platform: Platform
    images: list[RootImage]
    ram: list[RamLayer]
    annotations: dict[str, str]
    verified: bool
    bad: list[BadFile]


class ForkedSpore(TypedDict):
    """A child on disk."""

    id: str
    path: str


class DiskForks(TypedDict):
    """What :func:`spore.fork_on_disk` made."""

    parent: str
    path: str
    children: list[ForkedSpore]
    fork_us: int


class RamRange(TypedDict):
    """Bytes of the guest's RAM."""

    offset: int
    bytes: int


class FieldDifference(TypedDict):
    """A field, as a JSON pointer, and both its values as JSON (empty: not there)."""

    part: str
    path: str
    left: str
    right: str


class SporeDifference(TypedDict):
    """What :func:`spore.diff` finds."""

    left: str
    right: str
    same: bool
    pages: int
    ranges: list[RamRange]
    chunks_read: int
    fields: list[FieldDifference]


class Garbage(TypedDict):
    """Something that nobody needs."""

    kind: str
    path: str
    bytes: int
    why: str


class GarbageReport(TypedDict):
    """What :func:`spore.gc` found, or removed."""

    items: list[Garbage]
    bytes: int
    removed: bool
    notes: list[str]


class RemovedSpore(TypedDict):
    """What :func:`spore.remove` removed."""

    id: str
    path: str
    bytes: int


class BundledSpore(TypedDict):
    """A spore in a bundle, and its folder there (``.``: the bundle is this spore)."""

    name: str
    id: str
    parent: str


class Bundle(TypedDict):
    """What :func:`spore.pack` wrote, or :func:`spore.unpack` read."""

    digest: str
    path: str
    spores: list[BundledSpore]
    files: int
    bytes: int
    image_bytes: int


class KeptReport(TypedDict):
    """A machine that a runner kept for its next run: times are seconds since 1970."""

    digest: str
    label: str
    parts: dict[str, str]
    path: str
    bytes: int
    kept: int
    used: int
