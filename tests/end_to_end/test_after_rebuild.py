"""What is backed up on top of versions that were taken over from the store is described there as it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from backy_core import commit
from backy_core import segments as writing
from backy_core.errors import RepositoryError
from backy_core.objects.segment import cut
from backy_core.recovery import rebuild_repository, restore_from_store
from backy_core.reports import Progress, RebuildReport, ignore_progress
from backy_core.repository import Repository

BLOCK = 4096


class Disk:
    """A volume of blocks, backed up to a repository whose database is lost now and then."""

    def __init__(self, open_repository: Callable[..., Repository], tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.open_repository = open_repository
        self.repository = open_repository()
        self.blocks: list[bytes] = []
        self.expected: dict[str, bytes] = {}

    def back_up(self, volume: str = "vm") -> str:
        image = self.tmp_path / "disk.img"
        image.write_bytes(b"".join(self.blocks))
        uid = self.repository.backup(str(image), volume).version.uid
        self.expected[uid] = image.read_bytes()
        return uid

    def remove(self, uid: str) -> None:
        self.repository.remove([uid])
        del self.expected[uid]

    def lose_database(self) -> RebuildReport:
        self.repository.close()
        shutil.rmtree(self.tmp_path / "db")
        report = rebuild_repository(
            str(self.tmp_path / "repository.toml"),
            store=None,
            metadata=None,
            dooms_orphans=False,
            ask=None,
            progress=ignore_progress,
        )
        self.repository = self.open_repository()
        return report

    def check(self) -> None:
        assert self.repository.check_database().differences == ()
        assert {version.uid for version in self.repository.versions()} == self.expected.keys()
        for uid, content in self.expected.items():
            target = self.tmp_path / "restored.img"
            target.unlink(missing_ok=True)
            assert not self.repository.restore(uid, str(target)).damage
            assert target.read_bytes() == content
            self.restore_without_database(uid, target)
            assert target.read_bytes() == content

    def restore_without_database(self, uid: str, target: Path) -> None:
        name = str(self.tmp_path / "repository.toml")
        report = restore_from_store(name, uid, str(target), store=None, force=True, ask=None, progress=ignore_progress)
        assert not report.damage


@pytest.fixture
def disk(open_repository: Callable[..., Repository], tmp_path: Path) -> Disk:
    return Disk(open_repository, tmp_path)


@pytest.mark.parametrize("back_to", [os.urandom(BLOCK), bytes(BLOCK)], ids=["data", "hole"])
@pytest.mark.parametrize("keeps_first", [True, False])
def test_a_block_that_changed_in_a_removed_version_only(disk: Disk, back_to: bytes, keeps_first: bool) -> None:
    disk.blocks = [back_to, *(os.urandom(BLOCK) for _ in range(99))]
    first = disk.back_up()
    disk.blocks[:20] = [os.urandom(BLOCK) for _ in range(20)]
    second = disk.back_up()
    disk.blocks[:2] = [back_to, os.urandom(BLOCK)]
    disk.back_up()
    if not keeps_first:
        disk.remove(first)
    disk.remove(second)
    disk.lose_database()
    disk.check()
    disk.blocks[50:52] = [os.urandom(BLOCK), os.urandom(BLOCK)]
    disk.back_up()
    disk.check()
    disk.lose_database()
    disk.check()


def test_segments_that_share_some_of_their_pieces(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "cut", partial(cut, full=1))
    # The hole between them makes two runs, and so two pieces.
    disk.blocks = [os.urandom(BLOCK), bytes(BLOCK), os.urandom(BLOCK), os.urandom(BLOCK)]
    disk.back_up()
    disk.blocks[2:] = [os.urandom(BLOCK), os.urandom(BLOCK)]
    disk.back_up()
    disk.back_up("other")
    disk.lose_database()
    disk.check()
    disk.blocks[0] = os.urandom(BLOCK)
    disk.back_up()
    disk.check()


class Fork(Disk):
    """Beside the database, a copy of it that another host uses."""

    def fork(self) -> Repository:
        self.repository.close()
        shutil.copytree(self.tmp_path / "db", self.tmp_path / "other")
        name = self.tmp_path / "other.toml"
        said = (self.tmp_path / "repository.toml").read_text()
        name.write_text(said.replace(str(self.tmp_path / "db"), str(self.tmp_path / "other")))
        self.repository = self.open_repository()
        return Repository.open(str(name))


@pytest.fixture
def fork(open_repository: Callable[..., Repository], tmp_path: Path) -> Fork:
    return Fork(open_repository, tmp_path)


def test_a_manifest_of_another_database_in_the_same_place(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    fork.blocks = [os.urandom(BLOCK) for _ in range(40)]
    fork.back_up()
    image = fork.tmp_path / "late.img"
    late = [*fork.blocks[:10], os.urandom(BLOCK), *fork.blocks[11:]]
    image.write_bytes(b"".join(late))
    put = commit._put_manifest

    def sleeps(*what: object) -> object:
        monkeypatch.setattr(commit, "_put_manifest", put)
        assert fork.repository.reconcile().older
        for block in range(5, 8):
            fork.blocks[block] = os.urandom(BLOCK)
            fork.back_up()
        return put(*what)  # type: ignore[arg-type]

    with fork.fork() as other:
        monkeypatch.setattr(commit, "_put_manifest", sleeps)
        with pytest.raises(RepositoryError, match="backy reconcile"):
            other.backup(str(image), "vm")
        uid = other.versions("vm")[-1].uid
    # Nobody was told that it is safe, but its manifest is in the store, and all that it describes.
    fork.expected[uid] = b"".join(late)
    fork.lose_database()
    fork.check()


def test_a_copy_that_lost_the_race_for_a_generation_is_reconciled(fork: Fork) -> None:
    fork.blocks = [os.urandom(BLOCK)]
    kept = fork.back_up()
    going = fork.back_up("other")
    with fork.fork() as other:
        engine = other.engine
        with other._session("rm") as session:
            other.meta.remove_version(session, going)
            fork.repository.protect([going])
            with pytest.raises(RepositoryError, match="backy reconcile"):
                commit.store_fences(other.meta, session, engine.store, engine.facts)
        report = other.reconcile()
        assert report.older
        # Its removal never got to the store, and was not allowed there any more.
        assert {version.uid for version in other.versions()} == {kept, going}
        assert other.check_database().differences == ()


def test_what_others_do_meanwhile_is_no_difference(fork: Fork) -> None:
    fork.blocks = [os.urandom(BLOCK) for _ in range(5)]
    for phase in ("manifests", "objects", "compare"):
        going = fork.back_up("other")
        fork.blocks[0] = os.urandom(BLOCK)
        fork.back_up()
        with Repository.open(str(fork.tmp_path / "repository.toml")) as beside:
            pending = [going]

            def meanwhile(progress: Progress, phase: str = phase, pending: list[str] = pending) -> None:
                if progress.phase == phase and pending:
                    beside.remove([pending.pop()])
                    beside.cleanup()

            assert fork.repository.check_database(progress=meanwhile).differences == ()
            assert not pending


def test_two_objects_of_one_digest_are_no_difference(fork: Fork) -> None:
    fork.blocks = [os.urandom(BLOCK)]
    fork.back_up()
    [chunk] = (fork.tmp_path / "store" / "c").rglob("*-*")
    for nonce in ("0" * 16, "f" * 16):
        shutil.copy(chunk, chunk.with_name(f"{chunk.name[:-16]}{nonce}"))
    assert fork.repository.check_database().differences == ()


def test_tags_keep_a_protection_that_came_meanwhile(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> None:
    fork.blocks = [os.urandom(BLOCK)]
    uid = fork.back_up()
    found = fork.repository._finished

    def overtaken(selector: str) -> object:
        version = found(selector)
        with Repository.open(str(fork.tmp_path / "repository.toml")) as beside:
            beside.protect([uid])
        return version

    monkeypatch.setattr(fork.repository, "_finished", overtaken)
    [version] = fork.repository.tag([uid], add=["x"])
    assert version.attributes.protected is not None
    assert version.attributes.tags == ("x",)


def test_names_that_are_no_generation_count_for_nothing(fork: Fork) -> None:
    fork.blocks = [os.urandom(BLOCK)]
    fork.back_up()
    for name in ("7", "9" * 25, "0" * 13, "x"):
        (fork.tmp_path / "store" / "gens" / name).write_bytes(b"junk")
    fork.back_up()
    fork.repository.reconcile()


def test_a_rebuild_that_is_refused_writes_no_settings(fork: Fork) -> None:
    fork.blocks = [os.urandom(BLOCK)]
    fork.back_up()
    name = fork.tmp_path / "anew.toml"
    with pytest.raises(RepositoryError, match="is there"):
        rebuild_repository(
            str(name),
            store=str(fork.tmp_path / "store"),
            metadata=f"sqlite://{fork.tmp_path / 'db' / 'metadata.sqlite'}",
            dooms_orphans=False,
            ask=None,
            progress=ignore_progress,
        )
    assert not name.exists()
