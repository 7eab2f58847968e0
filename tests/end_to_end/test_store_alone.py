"""The store alone is enough: databases made anew, restores without one, descriptions that stay short."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backy_core.builtin.posix import PosixStore
from backy_core.errors import Guarded, NotFound, RepositoryError
from backy_core.model import Version, VersionState
from backy_core.recovery import rebuild_repository, restore_from_store
from backy_core.reports import RebuildReport, ignore_progress
from backy_core.repository import Repository

BLOCK = 4096
Contents = dict[str, bytes]


def back_up(repository: Repository, tmp_path: Path, volume: str, content: bytes, **how: object) -> Version:
    image = tmp_path / "disk.img"
    image.write_bytes(content)
    return repository.backup(str(image), volume, **how).version  # type: ignore[arg-type]


def lived(repository: Repository, tmp_path: Path, seed: int, versions: int = 30) -> Contents:
    """A repository with a past: what each version that is left must give back."""
    rng = random.Random(seed)
    contents: dict[str, bytearray] = {}
    expected: Contents = {}
    pool = [rng.randbytes(BLOCK) for _ in range(40)]
    last: dict[str, str] = {}
    made = 0
    while made < versions:
        volume = f"vm-{rng.randrange(3)}"
        data = contents.setdefault(volume, bytearray())
        if not data or rng.random() < 0.2:  # resize
            size = rng.randrange(60) * BLOCK + rng.choice([0, 0, 1, 17])
            data = bytearray(data[:size].ljust(size, b"\0"))
        touched = []
        for _ in range(rng.choice([0, 1, 3, 20])):
            if len(data) < BLOCK:
                break
            index = rng.randrange(len(data) // BLOCK)
            piece = bytes(BLOCK) if rng.random() < 0.2 else rng.choice([*pool, rng.randbytes(BLOCK)])
            data[index * BLOCK : (index + 1) * BLOCK] = piece
            touched.append(index)
        grown = len(data) != len(contents[volume])
        contents[volume] = data
        how: dict[str, object] = {"tags": rng.sample(["b_daily", "b_weekly", "owner=me"], rng.randrange(3))}
        there = [uid for uid in expected if repository.resolve(uid).volume == volume]
        if there and not grown and rng.random() < 0.5:
            hints = tmp_path / "hints.json"
            entries = [{"offset": index * BLOCK, "length": BLOCK, "exists": True} for index in sorted(set(touched))]
            hints.write_text(json.dumps(entries))
            # Hints are for the newest finished version, which a removal may have taken.
            if repository.meta.versions(volume)[-1].uid == last.get(volume):
                how["hints"] = hints
        elif there and rng.random() < 0.2:
            how["base"] = rng.choice(there)
        version = back_up(repository, tmp_path, volume, bytes(data), **how)
        last[volume] = version.uid
        expected[version.uid] = bytes(data)
        made += 1
        if rng.random() < 0.25:
            chosen = rng.choice(list(expected))
            if rng.random() < 0.5:
                repository.protect([chosen], reason="kept", by="me", until=datetime(2999, 1, 1, tzinfo=UTC))
            repository.tag([chosen], add=["tagged"], remove=["b_daily"])
        if rng.random() < 0.3 and len(expected) > 2:
            chosen = rng.choice(list(expected))
            try:
                repository.remove([chosen])
                del expected[chosen]
            except Guarded:
                pass
        if rng.random() < 0.1:
            repository.cleanup()
    return expected


def facts(version: Version) -> tuple[object, ...]:
    return (
        version.uid,
        version.volume,
        version.size,
        version.state,
        version.lineage,
        version.birth,
        version.created,
        version.finished,
        version.source,
        version.base_uid,
        version.statistics,
        version.attributes,
        version.manifest,
    )


def lose_database(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "db")


def rebuild(tmp_path: Path, **how: object) -> RebuildReport:
    values = {"store": None, "metadata": None, "dooms_orphans": False, "ask": None, "progress": ignore_progress}
    return rebuild_repository(str(tmp_path / "repository.toml"), **(values | how))  # type: ignore[arg-type]


def restored(repository: Repository, version: str, tmp_path: Path) -> bytes:
    target = tmp_path / "restored.img"
    target.unlink(missing_ok=True)
    assert not repository.restore(version, str(target)).damage
    return target.read_bytes()


@pytest.mark.parametrize("seed", range(4))
def test_a_lost_database_is_made_anew_equal(
    open_repository: Callable[..., Repository], tmp_path: Path, seed: int
) -> None:
    repository = open_repository()
    expected = lived(repository, tmp_path, seed)
    before = [facts(version) for version in repository.versions()]
    check = repository.check_database()
    assert check.differences == ()
    assert check.versions == len(expected)
    repository.close()
    lose_database(tmp_path)

    report = rebuild(tmp_path)
    assert (report.lost, report.doubted, report.invalid, report.missing_chunks) == ((), (), (), 0)

    repository = open_repository()
    assert [facts(version) for version in repository.versions()] == before
    assert repository.check_database().differences == ()
    for uid, content in expected.items():
        assert restored(repository, uid, tmp_path) == content
    assert not repository.scrub().damage
    # And life goes on: backups build on it, removals and cleanups take nothing that is needed.
    some = next(iter(expected))
    new = back_up(repository, tmp_path, repository.resolve(some).volume, b"new" * BLOCK)
    assert new.state is VersionState.VALID
    for uid in list(expected)[::2]:
        repository.unprotect([uid])
        repository.remove([uid])
        del expected[uid]
    repository.cleanup()
    for uid, content in expected.items():
        assert restored(repository, uid, tmp_path) == content
    assert repository.check_database().differences == ()


def test_a_database_made_anew_after_shrinking_shows_no_old_data_when_it_grows(
    open_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    repository = open_repository()
    old = os.urandom(50 * BLOCK)
    back_up(repository, tmp_path, "vm-1", old)
    back_up(repository, tmp_path, "vm-1", old[: 10 * BLOCK])
    repository.close()
    lose_database(tmp_path)
    rebuild(tmp_path)
    repository = open_repository()
    grown = old[: 10 * BLOCK] + bytes(40 * BLOCK)
    hints = tmp_path / "hints.json"
    hints.write_text("[]")
    back_up(repository, tmp_path, "vm-1", grown, hints=hints)
    assert restored(repository, "vm-1", tmp_path) == grown


def test_a_rebuild_that_was_interrupted_goes_on(open_repository: Callable[..., Repository], tmp_path: Path) -> None:
    repository = open_repository()
    expected = lived(repository, tmp_path, 7, versions=12)
    before = [facts(version) for version in repository.versions()]
    repository.close()
    lose_database(tmp_path)

    class Stopped(Exception):
        pass

    left = [0]

    def stop(_: object) -> None:
        left[0] -= 1
        if not left[0]:
            raise Stopped

    rebuild(tmp_path, progress=stop)
    moments = -left[0]
    assert moments > 10
    for left[0] in range(1, moments + 1, 3):
        lose_database(tmp_path)
        with pytest.raises(Stopped):
            rebuild(tmp_path, progress=stop)
        with pytest.raises(RepositoryError, match="holds no repository"):
            Repository.open(str(tmp_path / "repository.toml"))
        rebuild(tmp_path)
        repository = open_repository()
        assert [facts(version) for version in repository.versions()] == before
        assert repository.check_database().differences == ()
        repository.close()
    repository = open_repository()
    for uid, content in expected.items():
        assert restored(repository, uid, tmp_path) == content


def test_settings_and_database_lost_the_store_is_enough(
    open_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    repository = open_repository()
    content = os.urandom(9 * BLOCK)
    version = back_up(repository, tmp_path, "vm-1", content)
    repository.close()
    lose_database(tmp_path)
    (tmp_path / "repository.toml").unlink()
    with pytest.raises(RepositoryError, match="not initialised"):
        rebuild(tmp_path)
    rebuild(tmp_path, store=str(tmp_path / "store"), metadata=f"sqlite://{tmp_path / 'other.sqlite'}")
    with Repository.open(str(tmp_path / "repository.toml")) as made:
        assert [one.uid for one in made.versions()] == [version.uid]
        assert restored(made, "vm-1", tmp_path) == content


def test_a_database_that_is_there_is_not_made_anew(repository: Repository, tmp_path: Path) -> None:
    back_up(repository, tmp_path, "vm-1", b"x")
    with pytest.raises(RepositoryError, match="backy reconcile"):
        rebuild(tmp_path)
    assert len(repository.versions()) == 1


@pytest.mark.parametrize("seed", [11, 12])
def test_each_version_is_restored_from_its_manifest_and_at_most_ten_segments(
    open_repository: Callable[..., Repository], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    repository = open_repository()
    expected = lived(repository, tmp_path, seed, versions=40)
    repository.close()
    lose_database(tmp_path)
    read: list[str] = []
    get = PosixStore.get

    def counted(self: PosixStore, key: str, *more: object) -> bytes:
        read.append(key)
        return get(self, key, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(PosixStore, "get", counted)
    for uid, content in expected.items():
        read.clear()
        target = tmp_path / "restored.img"
        target.unlink(missing_ok=True)
        report = restore_from_store(
            str(tmp_path / "repository.toml"),
            uid,
            str(target),
            store=None,
            force=False,
            ask=None,
            progress=ignore_progress,
        )
        assert not report.damage
        assert target.read_bytes() == content
        kinds = Counter(key.partition("/")[0] for key in read)
        assert kinds["v"] == 1
        assert kinds["m"] <= 10
        assert kinds["a"] == kinds["gens"] == 0


def test_a_restore_from_the_store_takes_a_volume_too(
    open_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    repository = open_repository()
    old, new = os.urandom(5 * BLOCK), os.urandom(6 * BLOCK)
    back_up(repository, tmp_path, "vm-1", old)
    back_up(repository, tmp_path, "vm-1", new)
    repository.close()
    lose_database(tmp_path)

    def get(selector: str) -> bytes:
        target = tmp_path / "restored.img"
        restore_from_store(
            str(tmp_path / "repository.toml"),
            selector,
            str(target),
            store=None,
            force=True,
            ask=None,
            progress=ignore_progress,
        )
        return target.read_bytes()

    assert get("vm-1") == new
    assert get("vm-1@-1") == old
    with pytest.raises(NotFound):
        get("vm-2")


def test_segments_stay_few_and_every_change_is_written_a_few_times_only(
    open_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    repository = open_repository()
    data = bytearray(os.urandom(1000 * BLOCK))
    rng = random.Random(1)
    entries = changes = 0
    known: set[int] = set()
    for _ in range(60):
        version = back_up(repository, tmp_path, "vm-1", bytes(data))
        segments = repository.meta.segments(version)
        assert len(segments) <= 10
        entries += sum(segment.entries for segment in segments if segment.id not in known)
        known |= {segment.id for segment in segments}
        changes += version.statistics.changed_blocks if version.statistics else 0
        for index in rng.sample(range(1000), 5):
            data[index * BLOCK : (index + 1) * BLOCK] = rng.randbytes(BLOCK)
    assert changes == 1000 + 59 * 5
    assert entries < 3 * changes


def test_an_unchanged_backup_writes_no_segment(repository: Repository, tmp_path: Path) -> None:
    content = os.urandom(20 * BLOCK)
    first = back_up(repository, tmp_path, "vm-1", content)
    pieces = sorted((tmp_path / "store" / "m").iterdir())
    second = back_up(repository, tmp_path, "vm-1", content)
    assert sorted((tmp_path / "store" / "m").iterdir()) == pieces
    assert repository.meta.segments(second) == repository.meta.segments(first)


def test_tags_and_protection_come_back_and_the_newest_count(
    open_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    repository = open_repository()
    version = back_up(repository, tmp_path, "vm-1", b"x" * BLOCK, tags=["first"])
    repository.tag(["vm-1"], add=["second"])
    repository.protect(["vm-1"], reason="a reason", by="somebody")
    repository.tag(["vm-1"], remove=["first"])
    with pytest.raises(Guarded, match="unprotect"):
        repository.remove(["vm-1"])
    repository.close()
    lose_database(tmp_path)
    rebuild(tmp_path)
    repository = open_repository()
    [found] = repository.versions()
    assert found.uid == version.uid
    assert found.attributes.tags == ("second",)
    assert found.attributes.protected is not None
    assert found.attributes.protected.reason == "a reason"
    with pytest.raises(Guarded):
        repository.remove(["vm-1"])
    repository.tag(["vm-1"], add=["third"])
    repository.unprotect(["vm-1"])
    repository.cleanup()
    assert [path.name for path in (tmp_path / "store" / "a").iterdir()] == [f"{version.uid}.5"]
    repository.remove(["vm-1"])
    assert list((tmp_path / "store" / "a").iterdir()) == list((tmp_path / "store" / "v").iterdir()) == []


def test_what_no_version_uses_is_told_and_cleaned_up_when_asked(
    open_repository: Callable[..., Repository], tmp_path: Path
) -> None:
    repository = open_repository()
    content = os.urandom(8 * BLOCK)
    back_up(repository, tmp_path, "vm-1", content)
    back_up(repository, tmp_path, "vm-2", os.urandom(5 * BLOCK))
    repository.remove(["vm-2"])  # its chunks wait for a cleanup that never comes
    repository.close()
    lose_database(tmp_path)
    assert rebuild(tmp_path).orphans == 6, "five chunks and the segment of the version that had them"
    lose_database(tmp_path)
    report = rebuild(tmp_path, dooms_orphans=True)
    assert report.orphans == 6
    repository = open_repository()
    assert repository.cleanup().deleted_objects >= 6
    assert len(list((tmp_path / "store" / "m").iterdir())) == 1
    assert len([path for path in (tmp_path / "store" / "c").rglob("*") if path.is_file()]) == 8
    assert restored(repository, "vm-1", tmp_path) == content
