"""A database put back from an older copy is refused, and made right without losing anything; so is an older store."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backy_core.builtin.posix import PosixStore
from backy_core.errors import Guarded, NotFound, RepositoryError
from backy_core.model import VersionState
from backy_core.repository import Repository
from backy_core.takeover import Takeover

BLOCK = 4096


class Past:
    """A repository, what its versions must give back, and a copy of its database from before every step."""

    def __init__(self, open_repository: Callable[..., Repository], tmp_path: Path) -> None:
        self.open_repository = open_repository
        self.tmp_path = tmp_path
        self.repository = open_repository()
        self.expected: dict[str, bytes] = {}
        self.copies: list[Path] = []

    def keep_copy(self) -> None:
        self.repository.close()
        copy = self.tmp_path / f"copy-{len(self.copies)}"
        shutil.copytree(self.tmp_path / "db", copy)
        self.copies.append(copy)
        self.repository = self.open_repository()

    def put_back(self, copy: Path) -> None:
        self.repository.close()
        shutil.rmtree(self.tmp_path / "db")
        shutil.copytree(copy, self.tmp_path / "db")
        self.repository = self.open_repository()

    def back_up(self, volume: str, content: bytes) -> str:
        image = self.tmp_path / "disk.img"
        image.write_bytes(content)
        uid = self.repository.backup(str(image), volume).version.uid
        self.expected[uid] = content
        return uid

    def remove(self, uid: str) -> None:
        self.repository.remove([uid])
        del self.expected[uid]

    def check(self) -> None:
        finished = {version.uid for version in self.repository.versions()}
        assert finished == self.expected.keys()
        for uid, content in self.expected.items():
            target = self.tmp_path / "restored.img"
            target.unlink(missing_ok=True)
            assert not self.repository.restore(uid, str(target)).damage
            assert target.read_bytes() == content
        assert self.repository.check_database().differences == ()


@pytest.fixture
def past(open_repository: Callable[..., Repository], tmp_path: Path) -> Past:
    return Past(open_repository, tmp_path)


def lived(past: Past, seed: int) -> None:
    """Backups, removals, tags, cleanups and an interrupted backup; a copy of the database before each."""
    rng = random.Random(seed)
    pool = [rng.randbytes(BLOCK) for _ in range(12)]
    for step in range(14):
        past.keep_copy()
        kind = "backup" if step < 3 else rng.choice(["backup", "backup", "remove", "cleanup", "tag", "stop"])
        if kind == "backup":
            past.back_up(f"vm-{rng.randrange(2)}", b"".join(rng.choice(pool) for _ in range(rng.randrange(1, 20))))
        elif kind == "remove" and len(past.expected) > 1:
            uid = rng.choice(list(past.expected))
            try:
                past.remove(uid)
            except Guarded:
                past.repository.unprotect([uid])
                past.remove(uid)
        elif kind == "cleanup":
            past.repository.cleanup()
        elif kind == "tag":
            past.repository.tag([rng.choice(list(past.expected))], add=[f"step-{step}"])
            past.repository.protect([rng.choice(list(past.expected))])
        elif kind == "stop":
            image = past.tmp_path / "disk.img"
            image.write_bytes(rng.randbytes(9 * BLOCK))

            def stop(_: object) -> None:
                raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                past.repository.backup(str(image), "vm-0", progress=stop)


@pytest.mark.parametrize("seed", range(3))
def test_from_any_older_copy_nothing_is_lost(past: Past, seed: int) -> None:
    lived(past, seed)
    past.keep_copy()
    past.repository.unprotect([next(iter(past.expected))])
    past.remove(next(iter(past.expected)))
    past.repository.cleanup()
    past.keep_copy()
    shutil.copytree(past.tmp_path / "store", past.tmp_path / "store-kept")
    for copy in past.copies[:-1]:
        shutil.rmtree(past.tmp_path / "store")
        shutil.copytree(past.tmp_path / "store-kept", past.tmp_path / "store")
        past.put_back(copy)
        for write in (
            lambda: past.repository.backup(str(past.tmp_path / "disk.img"), "vm-0"),
            lambda: past.repository.remove(["vm-0"]),
            past.repository.cleanup,
            lambda: past.repository.tag(["vm-0"], add=["x"]),
        ):
            with pytest.raises((RepositoryError, NotFound)) as refused:
                write()
            if isinstance(refused.value, RepositoryError):
                assert "backy reconcile" in str(refused.value)
                assert "\n" not in str(refused.value)
        looked = past.repository.reconcile(dry_run=True)
        assert looked.older
        done = past.repository.reconcile()
        assert {version.uid for version in looked.store.versions} == {version.uid for version in done.store.versions}
        assert {version.uid for version in looked.removed} == {version.uid for version in done.removed}
        assert (done.store.lost, done.store.missing_chunks) == ((), 0)
        past.check()
        # What is left in the two databases' dooms and queues takes nothing that is needed.
        past.repository.cleanup()
        past.check()
        new = past.back_up("vm-0", os.urandom(3 * BLOCK))
        past.check()
        # The newer database, should somebody still have it, is the older one now.
        past.put_back(past.copies[-1])
        with pytest.raises(RepositoryError, match="backy reconcile"):
            past.repository.cleanup()
        del past.expected[new]
        assert not past.repository.scrub().damaged_chunks


def test_backups_since_the_copy_are_noticed_without_any_cleanup(past: Past) -> None:
    past.back_up("vm-1", os.urandom(4 * BLOCK))
    past.keep_copy()
    past.back_up("vm-1", os.urandom(4 * BLOCK))
    past.put_back(past.copies[0])
    with pytest.raises(RepositoryError, match="older than the store"):
        past.repository.backup(str(past.tmp_path / "disk.img"), "vm-1")
    past.repository.reconcile()
    past.check()


def test_tags_and_protection_given_since_the_copy_count(past: Past) -> None:
    uid = past.back_up("vm-1", os.urandom(4 * BLOCK))
    past.keep_copy()
    past.repository.protect([uid], reason="since")
    past.put_back(past.copies[0])
    assert past.repository.reconcile().changed_attributes
    with pytest.raises(Guarded):
        past.repository.remove([uid])
    past.check()


def test_uploads_that_the_copy_thinks_unfinished_are_not_cleaned_up(
    past: Past, open_repository: Callable[..., Repository]
) -> None:
    """The copy was made in the middle of a backup: its uploads became chunks of a version since."""
    image = past.tmp_path / "disk.img"
    content = os.urandom(40 * BLOCK)
    image.write_bytes(content)
    copy = past.tmp_path / "copy"

    def copying(_: object) -> None:
        if not copy.exists():
            shutil.copytree(past.tmp_path / "db", copy)

    uid = past.repository.backup(str(image), "vm-1", progress=copying).version.uid
    past.expected[uid] = content
    past.put_back(copy)
    past.repository.reconcile()
    past.check()
    past.repository.cleanup()
    past.check()


def test_a_store_older_than_its_database_loses_no_version_that_it_still_holds(past: Past) -> None:
    kept = past.back_up("vm-1", os.urandom(6 * BLOCK))
    past.repository.close()
    shutil.copytree(past.tmp_path / "store", past.tmp_path / "older")
    past.repository = past.open_repository()
    lost = past.back_up("vm-1", os.urandom(6 * BLOCK))
    past.repository.close()
    shutil.rmtree(past.tmp_path / "store")
    (past.tmp_path / "older").rename(past.tmp_path / "store")
    past.repository = past.open_repository()
    report = past.repository.reconcile()
    assert not report.older
    assert report.store.missing_chunks == 6
    assert [version.uid for version in report.undescribed] == [lost]
    states = {version.uid: version.state for version in past.repository.versions()}
    assert states == {kept: VersionState.VALID, lost: VersionState.INVALID}
    # The same content again heals the version that lost it.
    (past.tmp_path / "disk.img").write_bytes(past.expected[lost])
    past.repository.backup(str(past.tmp_path / "disk.img"), "vm-1")
    target = past.tmp_path / "restored.img"
    assert not past.repository.restore(lost, str(target)).damage
    assert target.read_bytes() == past.expected[lost]


def test_reconciling_what_agrees_changes_nothing(past: Past) -> None:
    past.back_up("vm-1", os.urandom(6 * BLOCK))
    report = past.repository.reconcile()
    assert not report.older
    assert (report.removed, report.dropped, report.store.versions, report.undescribed, report.unknown) == ((),) * 5
    past.check()


@pytest.fixture
def other(past: Past) -> Iterator[Callable[[], Repository]]:
    """Opens the repository as another host would, with a copy of the database that was made when it was first asked."""
    settings = past.tmp_path / "other.toml"
    opened: list[Repository] = []

    def opener() -> Repository:
        if not settings.exists():
            shutil.copytree(past.tmp_path / "db", past.tmp_path / "other-db")
            text = (past.tmp_path / "repository.toml").read_text()
            settings.write_text(text.replace("/db/metadata.sqlite", "/other-db/metadata.sqlite"))
        opened.append(Repository.open(str(settings)))
        return opened[-1]

    yield opener
    for repository in opened:
        repository.close()


@pytest.mark.parametrize("moment", ["before the manifest", "while the other reconciles"])
def test_a_backup_that_a_reconcile_overtakes_is_not_called_safe_or_is_taken_over(
    past: Past, other: Callable[[], Repository], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    past.back_up("vm-1", os.urandom(3 * BLOCK))
    other().close()
    put = PosixStore.put
    content = os.urandom(5 * BLOCK)
    (past.tmp_path / "disk.img").write_bytes(content)

    def overtaking(store: PosixStore, key: str, *rest: Any, **how: Any) -> None:
        if key.startswith("v/"):
            monkeypatch.setattr(PosixStore, "put", put)
            if moment == "before the manifest":
                other().reconcile()
            else:
                # The other one has listed the manifests and not yet put its fence: this backup may be called safe.
                listing = Takeover.missing

                def late(take: Takeover) -> int:
                    put(store, key, *rest, **how)
                    store.sync()
                    return listing(take)

                monkeypatch.setattr(Takeover, "missing", late)
                other().reconcile()
                monkeypatch.setattr(Takeover, "missing", listing)
                return
        put(store, key, *rest, **how)

    monkeypatch.setattr(PosixStore, "put", overtaking)
    with pytest.raises(RepositoryError, match="backy reconcile"):
        past.repository.backup(str(past.tmp_path / "disk.img"), "vm-2")
    there = {version.volume for version in other().versions()}
    if moment == "before the manifest":
        assert there == {"vm-1"}
        past.repository.reconcile()
        there = {version.volume for version in past.repository.versions()}
    assert there == {"vm-1", "vm-2"}
