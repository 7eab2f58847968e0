"""Damage in the store is found, named, survived and healed; it never becomes a quiet wrong restore."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from backy_core.errors import RepositoryError, StoreError
from backy_core.model import DamageKind, VersionState
from backy_core.repository import Repository

BLOCK = 4096


def flip(path: Path, other: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def truncate(path: Path, other: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path, other: Path) -> None:
    os.truncate(path, 0)


def extend(path: Path, other: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def swap(path: Path, other: Path) -> None:
    shutil.copyfile(other, path)


def remove(path: Path, other: Path) -> None:
    path.unlink()


HARM: dict[Callable[[Path, Path], None], DamageKind] = {
    flip: DamageKind.CORRUPT,
    truncate: DamageKind.CORRUPT,
    empty: DamageKind.CORRUPT,
    extend: DamageKind.CORRUPT,
    swap: DamageKind.CORRUPT,
    remove: DamageKind.MISSING,
}


def object_of(repository: Repository, tmp_path: Path, uid: str, index: int) -> Path:
    block = repository.meta.view(repository.resolve(uid), [index])[index]
    assert block.chunk is not None
    return tmp_path / "store" / block.chunk.key


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("finder", ["scrub", "restore"])
def test_damage_is_named_survived_and_healed(
    repository: Repository, tmp_path: Path, harm: Callable[[Path, Path], None], finder: str
) -> None:
    image = tmp_path / "disk.img"
    blocks = [os.urandom(BLOCK) for _ in range(30)]
    blocks[20] = blocks[10]  # one chunk, two places
    image.write_bytes(b"".join(blocks))
    first = repository.backup(str(image), "vm-1").version.uid
    repository.backup(str(image), "vm-2")
    image.write_bytes(b"".join([os.urandom(BLOCK), *blocks[1:]]))
    second = repository.backup(str(image), "vm-1").version.uid
    unharmed = tmp_path / "unharmed.img"
    unharmed.write_bytes(os.urandom(3 * BLOCK))
    repository.backup(str(unharmed), "vm-3")

    harmed = object_of(repository, tmp_path, first, 10)
    harm(harmed, object_of(repository, tmp_path, first, 3))

    if finder == "scrub":
        report = repository.scrub()
        assert {damage.kind for damage in report.damage} == {HARM[harm]}
        assert {damage.key for damage in report.damage} == {str(harmed.relative_to(tmp_path / "store"))}
        assert {version.volume for version in report.invalidated} == {"vm-1", "vm-2"}
        assert len(report.invalidated) == 3, "every version that uses the chunk"
    restoring = repository.restore(first, str(tmp_path / "out.img"))
    assert [damage.kind for damage in restoring.damage] == [HARM[harm]]
    assert [(extent.offset, extent.length) for extent in restoring.damaged_extents] == [
        (10 * BLOCK, BLOCK),
        (20 * BLOCK, BLOCK),
    ]
    expected = b"".join(bytes(BLOCK) if index in (10, 20) else block for index, block in enumerate(blocks))
    assert (tmp_path / "out.img").read_bytes() == expected, "everything else is restored"
    states = {version.uid: version.state for version in repository.versions()}
    assert states[first] is VersionState.INVALID
    assert states[second] is VersionState.INVALID
    assert repository.versions("vm-3")[0].state is VersionState.VALID

    healing = repository.backup(str(image), "vm-1")
    assert healing.statistics.healed_chunks == 1
    assert healing.statistics.new_chunks == 0
    assert all(version.state is VersionState.VALID for version in repository.versions())
    assert not repository.scrub().damage
    (tmp_path / "out.img").unlink()
    assert not repository.restore(first, str(tmp_path / "out.img")).damage
    assert (tmp_path / "out.img").read_bytes() == b"".join(blocks)
    repository.cleanup()
    assert not repository.scrub().damage, "cleanup took the damaged object, not the healed one"
    assert not harmed.exists()


def test_damage_is_healed_by_a_backup_with_hints_that_do_not_name_the_block(
    repository: Repository, tmp_path: Path
) -> None:
    image, hints = tmp_path / "disk.img", tmp_path / "hints.json"
    image.write_bytes(os.urandom(100 * BLOCK))
    first = repository.backup(str(image), "vm-1").version.uid
    object_of(repository, tmp_path, first, 42).unlink()
    assert len(repository.scrub().damage) == 1
    hints.write_text("[]")
    report = repository.backup(str(image), "vm-1", hints=hints)
    assert report.statistics.healed_chunks == 1
    assert report.statistics.read_blocks == 1
    assert all(version.state is VersionState.VALID for version in repository.versions())


def test_a_disk_that_recovers_makes_its_versions_valid_again(repository: Repository, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(os.urandom(10 * BLOCK))
    uid = repository.backup(str(image), "vm-1").version.uid
    lost = object_of(repository, tmp_path, uid, 4)
    lost.rename(tmp_path / "aside")
    assert repository.scrub().invalidated
    (tmp_path / "aside").rename(lost)
    assert [version.uid for version in repository.scrub().revalidated] == [uid]


def test_a_store_that_is_gone_is_no_damage(
    repository: Repository, open_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(os.urandom(10 * BLOCK))
    repository.backup(str(image), "vm-1")
    (tmp_path / "store").rename(tmp_path / "unmounted")
    for act in (
        lambda: open_repository().scrub(),
        lambda: open_repository().restore("vm-1", str(tmp_path / "out.img")),
        lambda: open_repository().cleanup(),
    ):
        with pytest.raises((StoreError, RepositoryError), match="store"):
            act()
    assert not (tmp_path / "out.img").exists()
    (tmp_path / "unmounted").rename(tmp_path / "store")
    assert repository.versions()[0].state is VersionState.VALID
    assert not repository.scrub().damage


def test_wrong_hints_keep_nothing(repository: Repository, tmp_path: Path) -> None:
    from backy_core.errors import InvalidHints

    image, hints = tmp_path / "disk.img", tmp_path / "hints.json"
    image.write_bytes(os.urandom(20 * BLOCK))
    repository.backup(str(image), "vm-1")
    image.write_bytes(os.urandom(20 * BLOCK))
    hints.write_text("[]")
    with pytest.raises(InvalidHints, match="the hints are wrong"):
        repository.backup(str(image), "vm-1", hints=hints)
    assert len(repository.versions()) == 1


def test_a_scrub_finds_every_flipped_bit_of_an_object_and_a_restore_is_never_wrong(
    repository: Repository, tmp_path: Path
) -> None:
    """Some bits of a frame mean nothing to a decompressor: a scrub still finds them, a restore may not care."""
    image = tmp_path / "disk.img"
    image.write_bytes(b"some words, some more words, and others " * 100)
    uid = repository.backup(str(image), "vm-1").version.uid
    path = object_of(repository, tmp_path, uid, 0)
    whole = path.read_bytes()
    for bit in range(0, len(whole) * 8, 3):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(data)
        assert repository.scrub().damaged_chunks == 1, bit
        target = tmp_path / "out.img"
        target.unlink(missing_ok=True)
        report = repository.restore(uid, str(target))
        assert report.damaged_chunks or target.read_bytes() == image.read_bytes(), bit
    path.write_bytes(whole)
    assert not repository.scrub().damaged_chunks
