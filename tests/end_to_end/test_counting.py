"""A backup costs what changed: counted in map rows, database statements and objects, not in seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backy_core.builtin.posix import PosixStore
from backy_core.repository import Repository

MIB = 1024 * 1024
GIB = 1024 * MIB
BLOCK = 4 * MIB

STATEMENTS = 84
"""Statements of a backup with hints of seven changed blocks: the very same number for both sizes of the volume."""


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
    assert statements == STATEMENTS, "with hints, the size of the volume does not matter to the database"


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


def test_what_a_backup_asks_of_the_store_is_what_it_adds_to_it(
    open_repository: Callable[..., Repository], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unchanged backup: the generations are listed, the next one is put, and a manifest. Nothing is read back."""
    image = tmp_path / "disk.img"
    image.write_bytes(os.urandom(4096 * 50))
    with open_repository(block_size=4096) as first:
        first.backup(str(image), "vm-1")
    repository = open_repository()
    _ = repository.engine  # `config` is read when the repository is opened
    asked: list[tuple[str, str]] = []
    for name in ("put", "get", "size", "list", "delete"):
        monkeypatch.setattr(PosixStore, name, noting(asked, name, getattr(PosixStore, name)))
    uid = repository.backup(str(image), "vm-1").version.uid
    assert asked == [("list", "gens/"), ("put", "gens/000000000002"), ("put", f"v/{uid}"), ("list", "gens/")]
    asked.clear()
    repository.backup(str(image), "vm-2")
    assert [(what, key[:5]) for what, key in asked] == [
        ("list", "gens/"),
        ("put", key_of_first_piece(repository, "vm-2")[:5]),
        ("put", "gens/"),
        ("put", f"v/{repository.versions('vm-2')[0].uid}"[:5]),
        ("list", "gens/"),
    ], "the same content under another name: no chunk, one segment"
    asked.clear()
    repository.tag(["vm-2"], add=["x"])
    assert [(what, key[:2]) for what, key in asked] == [("list", "ge"), ("put", "ge"), ("put", "a/")]
    asked.clear()
    repository.remove(["vm-2"])
    assert [what for what, _ in asked] == ["list", "put", "delete"]


def noting(asked: list[tuple[str, str]], name: str, really: Callable[..., object]) -> Callable[..., object]:
    def request(self: PosixStore, key: object = "", *more: object, **how: object) -> object:
        asked.append((name, key if isinstance(key, str) else ""))
        return really(self, key, *more, **how)

    return request


def key_of_first_piece(repository: Repository, volume: str) -> str:
    return repository.meta.segments(repository.versions(volume)[0])[0].pieces[0].key
