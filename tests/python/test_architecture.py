"""The two rules of the source tree, read off the #include lines.

1. Dependencies point one way: a folder includes only itself and folders below it.
2. Hypervisors are named only under backends/.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Lowest first; those on one line do not know each other.
LAYERS = [
    {"base"},
    {"memory", "bus"},
    {"wire"},
    {"virtio", "devices", "image"},
    {"arch", "isa"},
    {"snapshot", "vm"},
    {"kept"},
    {"session"},
    {"cli"},
]
RANK = {folder: rank for rank, layer in enumerate(LAYERS) for folder in layer}

# Folders outside core, and the core headers that they may use.
PUBLIC_ONLY = ["gtest_runner", "python/bindings"]
HYPERVISOR_HEADERS = re.compile(r"linux/kvm|Hypervisor/")
# The project's own includes have a folder in front; <memory> is the standard library's.
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+/[^">]+)[">]', re.MULTILINE)


def sources(folder: str) -> list[Path]:
    found = [path for path in (ROOT / folder).rglob("*") if path.suffix in {".h", ".cc", ".c"}]
    assert found, f"no sources in {folder}"
    return sorted(found)


def includes(path: Path) -> list[str]:
    return INCLUDE.findall(path.read_text(encoding="utf-8"))


def layer_violations(path: Path) -> list[str]:
    own = path.relative_to(ROOT / "core/src").parts[0]
    bad = []
    for include in includes(path):
        other = include.split("/")[0]
        if other in ("kvm", "hvf", "nest"):
            bad.append(f"{path}: core includes a backend: {include}")
        elif (
            other in RANK
            and other != own
            and {own, other} != {"arch", "isa"}
            and RANK[other] >= RANK[own]
        ):
            bad.append(f"{path}: {own} includes {include}, which is not below it")
    return bad


def test_every_core_folder_has_its_place() -> None:
    folders = {p.name for p in (ROOT / "core/src").iterdir() if any(p.glob("**/*.cc"))}
    assert folders <= set(RANK)


def test_core_includes_point_downwards() -> None:
    bad = [line for path in sources("core/src") for line in layer_violations(path)]
    assert not bad, "\n".join(bad)


def test_hypervisor_headers_stay_in_the_backends() -> None:
    bad = [
        f"{path}: {include}"
        for folder in ("core", "guest", "gtest_runner", "python")
        for path in sources(folder)
        for include in includes(path)
        if HYPERVISOR_HEADERS.search(include)
    ]
    assert not bad, "\n".join(bad)


@pytest.mark.parametrize("folder", PUBLIC_ONLY)
def test_front_ends_use_the_public_headers_only(folder: str) -> None:
    internal = set(RANK) | {"kvm", "hvf", "nest"}
    bad = [
        f"{path}: {include}"
        for path in sources(folder)
        for include in includes(path)
        if include.split("/")[0] in internal
    ]
    assert not bad, "\n".join(bad)


def test_the_rules_see_a_violation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    bad = tmp_path / "core/src/bus/bad.cc"
    bad.parent.mkdir(parents=True)
    bad.write_text('#include "vm/vm.h"\n#include "kvm/kvm_hypervisor.h"\n')
    assert len(layer_violations(bad)) == 2
