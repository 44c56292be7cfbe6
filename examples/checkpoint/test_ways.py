"""Several ways on from one state, each in a machine of its own.

    pytest --spore-fork examples/checkpoint

The journal is written once. From there the machine is forked four times: each fork tears it in
another way, and what the repair makes of that is checked. What one way destroys, the others have.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spore.pytest_plugin import Checkpoint

LINES = 1000


def write_journal(path: Path) -> None:
    path.write_text("".join(f"{number} committed\n" for number in range(LINES)))


def repair(path: Path) -> int:
    """Drops what is not whole at the end; how many entries are left."""
    whole = [line for line in path.read_text().splitlines() if line.endswith(" committed")]
    path.write_text("".join(f"{line}\n" for line in whole))
    return len(whole)


def nothing(path: Path) -> None:
    assert path.exists()


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:-5])


def garbage(path: Path) -> None:
    with path.open("a") as file:
        file.write("1000 comm")


def empty(path: Path) -> None:
    path.write_text("")


WAYS: list[tuple[Callable[[Path], None], int]] = [
    (nothing, LINES),
    (cut, LINES - 1),
    (garbage, LINES),
    (empty, 0),
]


def test_repair(tmp_path: Path, spore_checkpoint: Checkpoint) -> None:
    journal = tmp_path / "journal"
    write_journal(journal)
    for branch in spore_checkpoint.fork(len(WAYS)):
        damage, left = WAYS[branch.index]
        damage(journal)
        assert repair(journal) == left
