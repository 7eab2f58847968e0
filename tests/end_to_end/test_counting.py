"""A backup costs what changed: counted in map rows, database statements and objects, not in seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backy_core.repository import Repository

MIB = 1024 * 1024
GIB = 1024 * MIB
BLOCK = 4 * MIB


def sparse(path: Path, size: int, marks: dict[int, bytes]) -> None:
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(size)
        for offset, mark in marks.items():
            file.seek(offset)
            file.write(mark)


@pytest.mark.parametrize("size", [GIB, 1024 * GIB])
def test_k_changed_blocks_write_k_map_rows_whatever_the_size(
    open_repository: Callable[..., Repository], tmp_path: Path, size: int
) -> None:
    image, hints = tmp_path / "disk.img", tmp_path / "hints.json"
    places = [number * (size // 40) // BLOCK * BLOCK for number in range(40)]
    sparse(image, size, {place: os.urandom(16) for place in places})
    repository = open_repository(block_size=BLOCK)
    counters = repository.meta.counters

    def counted(**how: object) -> tuple[int, int]:
        rows, statements = counters.map_rows_written, counters.statements
        repository.backup(str(image), "vm-1", **how)  # type: ignore[arg-type]
        return counters.map_rows_written - rows, counters.statements - statements

    assert counted()[0] == 40
    objects = sorted((tmp_path / "store" / "c").rglob("*"))
    assert counted()[0] == 0, "an unchanged image writes no map row"
    assert sorted((tmp_path / "store" / "c").rglob("*")) == objects, "and no block"

    changed = places[3:10]
    sparse(image, size, {place: os.urandom(16) for place in changed})
    assert counted()[0] == len(changed)

    sparse(image, size, {place: os.urandom(16) for place in changed})
    listed = [{"offset": place, "length": 4096, "exists": "true"} for place in changed]
    hints.write_text(json.dumps(listed))
    rows, statements = counted(hints=hints)
    assert rows == len(changed)
    assert statements < 60, "with hints, the size of the volume does not matter to the database"


def test_with_hints_only_hinted_blocks_and_the_sample_are_read(
    open_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    image, hints = tmp_path / "disk.img", tmp_path / "hints.json"
    image.write_bytes(os.urandom(4096 * 2000))
    repository = open_repository(block_size=4096)
    repository.backup(str(image), "vm-1")
    sparse(image, 4096 * 2000, {4096 * 70 + 5: b"changed"})
    hints.write_text(json.dumps([{"offset": 4096 * 70 + 5, "length": 7, "exists": "true"}]))
    statistics = repository.backup(str(image), "vm-1", hints=hints).statistics
    assert (statistics.read_blocks, statistics.changed_blocks, statistics.new_chunks) == (1, 1, 1)
