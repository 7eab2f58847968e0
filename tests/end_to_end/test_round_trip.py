"""What was backed up comes back, byte for byte and to the exact size, whatever was done in between."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from backy_core.model import VersionState
from backy_core.repository import Repository

BLOCK = 4096


def restored(repository: Repository, version: str, tmp_path: Path) -> bytes:
    target = tmp_path / "restored.img"
    target.unlink(missing_ok=True)
    report = repository.restore(version, str(target))
    assert not report.damage
    return target.read_bytes()


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 3 * 4096, 3 * 4096 + 17, 200 * 4096 + 1])
@pytest.mark.parametrize("content", ["random", "zeros", "text"])
def test_any_size_comes_back_exactly(repository: Repository, tmp_path: Path, size: int, content: str) -> None:
    made = {"random": os.urandom(size), "zeros": bytes(size), "text": (b"some words " * (size // 11 + 1))[:size]}
    image = tmp_path / "disk.img"
    image.write_bytes(made[content])
    report = repository.backup(str(image), "vm-1")
    assert report.version.state is VersionState.VALID
    assert report.version.size == size
    assert restored(repository, "vm-1", tmp_path) == made[content]


def test_holes_cost_no_space_in_the_store_nor_in_the_restored_file(repository: Repository, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(256 * 1024 * 1024)
        file.seek(100 * 1024 * 1024 + 5)
        file.write(b"here I am")
    report = repository.backup(str(image), "vm-1")
    assert report.statistics.new_chunks == 1
    assert report.statistics.read_bytes < 1024 * 1024, "holes are not read"
    repository.restore("vm-1", str(tmp_path / "out.img"))
    assert (tmp_path / "out.img").read_bytes() == image.read_bytes()
    assert (tmp_path / "out.img").stat().st_blocks * 512 < 1024 * 1024


def test_zeros_that_take_space_in_the_source_take_none_in_the_store(repository: Repository, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(64 * BLOCK))
    assert repository.backup(str(image), "vm-1").statistics.new_chunks == 0


def test_equal_blocks_are_stored_once_across_volumes(repository: Repository, tmp_path: Path) -> None:
    block = os.urandom(BLOCK)
    (tmp_path / "one.img").write_bytes(block * 300)
    (tmp_path / "two.img").write_bytes(os.urandom(BLOCK) + block * 5)
    first = repository.backup(str(tmp_path / "one.img"), "vm-1").statistics
    assert (first.new_chunks, first.deduplicated_blocks, first.changed_blocks) == (1, 299, 300)
    second = repository.backup(str(tmp_path / "two.img"), "vm-2").statistics
    assert (second.new_chunks, second.deduplicated_blocks) == (1, 5)
    assert restored(repository, "vm-1", tmp_path) == block * 300


def test_shrinking_and_growing_again_shows_no_old_data(repository: Repository, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    history = []
    for size in (50 * BLOCK + 7, 10 * BLOCK + 1, 80 * BLOCK, 10 * BLOCK + 9, 11 * BLOCK, 300 * BLOCK):
        with image.open("r+b" if image.exists() else "w+b") as file:
            file.truncate(size)
            if not history:
                file.write(os.urandom(size))
        report = repository.backup(str(image), "vm-1")
        history.append((report.version.uid, image.read_bytes()))
    for uid, content in history:
        assert restored(repository, uid, tmp_path) == content


def test_shrinking_and_growing_with_hints_alone_shows_no_old_data(repository: Repository, tmp_path: Path) -> None:
    """The hints say nothing of sizes, as `rbd diff` does not: what lies beyond the end is forgotten at the shrink."""
    image, hints = tmp_path / "disk.img", tmp_path / "hints.json"
    hints.write_text("[]")
    image.write_bytes(os.urandom(50 * BLOCK + 7))
    history = [(repository.backup(str(image), "vm-1").version.uid, image.read_bytes())]
    for size in (10 * BLOCK + 1, 80 * BLOCK + 3, 4 * BLOCK, 60 * BLOCK):
        with image.open("r+b") as file:
            file.truncate(size)
        report = repository.backup(str(image), "vm-1", hints=hints)
        history.append((report.version.uid, image.read_bytes()))
    for uid, content in history:
        assert restored(repository, uid, tmp_path) == content


def changed_ranges(before: bytes, after: bytes) -> list[dict[str, object]]:
    """What a correct `rbd diff` would say, in pieces of 512 bytes."""
    found: list[dict[str, object]] = []
    for offset in range(0, len(after), 512):
        piece = after[offset : offset + 512]
        if piece != before[offset : offset + 512].ljust(len(piece), b"\0"):
            exists = "true" if any(piece) else "false"
            found.append({"offset": offset, "length": len(piece), "exists": exists})
    return found


@pytest.mark.parametrize("seed", range(6))
def test_random_histories_restore_as_a_plain_copy_would(repository: Repository, tmp_path: Path, seed: int) -> None:
    """Backups with and without hints, of older bases, with holes and resizes, removals and cleanups in any order."""
    rng = random.Random(seed)
    image, hints = tmp_path / "disk.img", tmp_path / "hints.json"
    content = bytearray(rng.randbytes(40 * BLOCK + 100))
    kept: dict[str, bytes] = {}
    newest: str | None = None
    for _ in range(40):
        action = rng.choice(["write", "write", "hole", "resize", "backup", "backup", "hints", "base", "rm", "cleanup"])
        at = rng.randrange(len(content) + 1)
        if action == "write":
            piece = rng.choice([rng.randbytes(rng.randrange(1, 3 * BLOCK)), b"same words " * 500])
            content[at : at + len(piece)] = piece[: len(content) - at]
        elif action == "hole":
            length = min(rng.randrange(4 * BLOCK), len(content) - at)
            content[at : at + length] = bytes(length)
        elif action == "resize":
            size = rng.choice([rng.randrange(60 * BLOCK), 20 * BLOCK, 41 * BLOCK])
            content = content[:size] + bytes(max(0, size - len(content)))
        elif action == "rm" and len(kept) > 2:
            uid = rng.choice(sorted(kept))
            repository.remove([uid])
            del kept[uid]
            newest = None if uid == newest else newest
        elif action == "cleanup":
            repository.cleanup()
        elif action in ("backup", "hints", "base"):
            base = rng.choice(sorted(kept)) if action == "base" and kept else newest if action == "hints" else None
            image.write_bytes(content)
            if base is not None:
                hints.write_text(json.dumps(changed_ranges(kept[base], bytes(content))))
            report = repository.backup(str(image), "vm-1", base=base, hints=hints if base is not None else None)
            newest = report.version.uid
            kept[newest] = bytes(content)
    for uid, expected in kept.items():
        assert restored(repository, uid, tmp_path) == expected
    for uid in list(kept):
        repository.remove([uid])
    repository.cleanup()
    usage = repository.usage()
    assert (usage.versions, usage.chunks, usage.map_rows, usage.doomed_keys, usage.uploads) == (0, 0, 0, 0, 0)
    assert not list((tmp_path / "store" / "c").glob("*/*")), "nothing is left in the store"
