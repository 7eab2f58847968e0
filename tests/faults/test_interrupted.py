"""Backups that end in the middle: what the next one takes up is neither too little nor, above all, too much.

Sources and stores here are real ones with a fault put between: a source in memory that fails where it is told, a
directory store whose `put` or `sync` fails once.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backy_core.backup import backup
from backy_core.contracts.source import Source
from backy_core.errors import BackyError, InvalidHints, OutOfSpace, SourceError, StoreError
from backy_core.extents import BlockRanges
from backy_core.model import Buffer, Version, VersionState
from backy_core.reports import BackupReport
from backy_core.repository import Repository

BLOCK = 4096


class MemorySource(Source):
    """Bytes in memory; reading the block at `fails_at` fails, and `read` notes which blocks were read."""

    location = "memory://here"

    def __init__(self, data: bytes, identity: str | None = None, fails_at: int | None = None) -> None:
        self.data = data
        self.size = len(data)
        self.identity = identity
        self.fails_at = fails_at
        self.read: set[int] = set()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if self.fails_at == offset // BLOCK:
            raise SourceError(f"cannot read at {offset}: {os.strerror(errno.EIO).lower()}")
        self.read.add(offset // BLOCK)
        buffer[:] = self.data[offset : offset + len(buffer)]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HOME", str(tmp_path))
    name = str(tmp_path / "r.toml")
    metadata = f"sqlite://{tmp_path}/metadata.sqlite"
    Repository.create(name, store=str(tmp_path / "store"), metadata=metadata, block_size=BLOCK).close()
    with Repository.open(name) as opened:
        yield opened


def run(
    repository: Repository, source: Source, *, hints: Sequence[int] | None = None, base: str | None = None
) -> BackupReport:
    touched = None
    if hints is not None:
        touched = BlockRanges()
        for index in hints:
            touched.add(index, index + 1)
    with repository._writing("backup") as session:
        return backup(repository.engine, session, source, "vm", created=datetime.now(UTC), hints=touched, base_uid=base)


def restored(repository: Repository, version: Version, tmp_path: Path) -> bytes:
    target = tmp_path / f"{version.uid}.img"
    report = repository.restore(version.uid, str(target))
    assert not report.damaged_chunks
    return target.read_bytes()


def fsck(place: Callable[..., list[str]], tmp_path: Path) -> None:
    assert place(tmp_path / "store", tmp_path / "metadata.sqlite") == []


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1])
def test_after_a_failed_sync_no_later_batch_is_published(
    repository: Repository, tmp_path: Path, place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, delay: float
) -> None:
    """The store drops with a batch also what was put for the next one; recording that would name lost objects."""
    store = repository.engine.store
    really = store._publisher.publish  # type: ignore[attr-defined]
    failed: list[int] = []

    def failing(files: Any) -> None:
        if not failed:
            failed.append(len(files))
            time.sleep(delay)  # the next batch fills up meanwhile
            for file in files:
                file.discard()
            raise OutOfSpace("the disk was full for a moment")
        really(files)

    monkeypatch.setattr(store._publisher, "publish", failing)  # type: ignore[attr-defined]
    data = os.urandom(600 * BLOCK)
    with pytest.raises(OutOfSpace):
        run(repository, MemorySource(data))
    assert failed
    fsck(place.fsck, tmp_path)
    report = run(repository, MemorySource(data))
    assert report.continued
    assert restored(repository, report.version, tmp_path) == data
    repository.cleanup()
    assert place.fsck(tmp_path / "store", tmp_path / "metadata.sqlite", clean=True) == []


def test_a_source_that_proves_its_sameness_is_not_read_again(repository: Repository, tmp_path: Path) -> None:
    data = os.urandom(600 * BLOCK)
    with pytest.raises(SourceError):
        run(repository, MemorySource(data, identity="snapshot-1", fails_at=500))
    again = MemorySource(data, identity="snapshot-1")
    report = run(repository, again)
    assert report.continued
    assert len(again.read) < 600, "what was published is not read again"
    assert restored(repository, report.version, tmp_path) == data


@pytest.mark.parametrize("identity", [None, "snapshot-2"])
def test_a_source_that_may_have_changed_is_read_again_from_the_start(
    repository: Repository, tmp_path: Path, identity: str | None
) -> None:
    with pytest.raises(SourceError):
        run(
            repository, MemorySource(os.urandom(600 * BLOCK), identity="snapshot-1" if identity else None, fails_at=500)
        )
    data = os.urandom(600 * BLOCK)
    again = MemorySource(data, identity=identity)
    report = run(repository, again)
    assert report.continued
    assert len(again.read) == 600
    assert restored(repository, report.version, tmp_path) == data


def test_a_failed_put_leaves_no_gap_below_the_position(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killing one put in an early batch, while later batches succeed, must not count the early blocks as done."""
    store = repository.engine.store
    really = store.put
    calls: list[str] = []

    def failing(key: str, parts: Sequence[Buffer], *, urgent: bool = False) -> None:
        calls.append(key)
        if len(calls) == 100:
            time.sleep(0.05)
            raise StoreError("the connection was lost")
        really(key, parts, urgent=urgent)

    monkeypatch.setattr(store, "put", failing)
    data = os.urandom(900 * BLOCK)
    with pytest.raises(StoreError, match="connection"):
        run(repository, MemorySource(data, identity="snapshot-1"))
    report = run(repository, MemorySource(data, identity="snapshot-1"))
    assert restored(repository, report.version, tmp_path) == data


def test_what_a_run_with_hints_left_out_is_looked_at_by_one_without(repository: Repository, tmp_path: Path) -> None:
    old = os.urandom(600 * BLOCK)
    run(repository, MemorySource(old))
    new = bytearray(old)
    for index in (7, *range(100, 401), 550):
        new[index * BLOCK : index * BLOCK + 8] = os.urandom(8)
    # The hints leave block 7 out; with luck the sample misses it, and then the run fails for another reason.
    for _ in range(20):
        try:
            run(
                repository,
                MemorySource(bytes(new), identity="snapshot-1", fails_at=550),
                hints=[*range(100, 401), 550],
            )
        except InvalidHints:
            continue
        except SourceError:
            break
    else:
        pytest.skip("the sample found the wrong hint each time")
    report = run(repository, MemorySource(bytes(new), identity="snapshot-1"))
    assert restored(repository, report.version, tmp_path) == bytes(new)


@pytest.mark.parametrize("depth", range(6))
def test_wrong_hints_are_noticed_however_deep_the_base_lies(repository: Repository, tmp_path: Path, depth: int) -> None:
    data = os.urandom(64 * BLOCK)
    base = run(repository, MemorySource(data)).version
    for _ in range(depth):
        # Another version on top of the same base each time: the next one based on the older opens a branch.
        run(repository, MemorySource(data[:-1] + os.urandom(1)))
        base = run(repository, MemorySource(data), base=base.uid).version
    with pytest.raises(InvalidHints):
        run(repository, MemorySource(os.urandom(64 * BLOCK)), hints=[], base=base.uid)
    assert restored(repository, base, tmp_path) == data


def test_an_interrupted_healing_is_noticed_by_the_next_backup(repository: Repository, tmp_path: Path) -> None:
    data = os.urandom(300 * BLOCK)
    first = run(repository, MemorySource(data)).version
    chunk = repository.meta.view(first, [10])[10].chunk
    assert chunk is not None
    (tmp_path / "store" / chunk.key).unlink()
    assert repository.scrub().damaged_chunks == 1
    with pytest.raises(SourceError):
        run(repository, MemorySource(data, fails_at=290))
    run(repository, MemorySource(data))
    assert [version.state for version in repository.versions()] == [VersionState.VALID] * 2
    assert repository.usage().bad_chunks == 0


def test_one_lost_batch_does_not_spoil_the_next_backup_of_an_open_repository(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = repository.engine.store._publisher.publish  # type: ignore[attr-defined]
    failed: list[int] = []

    def failing(files: Any) -> None:
        if not failed:
            failed.append(1)
            for file in files:
                file.discard()
            raise OutOfSpace("the disk was full for a moment")
        really(files)

    monkeypatch.setattr(repository.engine.store._publisher, "publish", failing)  # type: ignore[attr-defined]
    data = os.urandom(100 * BLOCK)
    with pytest.raises(OutOfSpace):
        run(repository, MemorySource(data))
    report = run(repository, MemorySource(data))
    repository.cleanup()
    assert restored(repository, report.version, tmp_path) == data


def peak() -> int:
    """The most memory this process had at once, in KiB, since that was reset."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def test_much_damage_costs_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    name, length = str(tmp_path / "r.toml"), 1024 * 1024
    metadata = f"sqlite://{tmp_path}/metadata.sqlite"
    Repository.create(
        name, store=str(tmp_path / "store"), metadata=metadata, block_size=length, compression="none"
    ).close()
    with Repository.open(name) as repository:
        version = run(repository, MemorySource(os.urandom(150 * length))).version
        for path in (tmp_path / "store" / "c").glob("*/*"):
            with path.open("r+b") as file:
                file.seek(length // 2)
                file.write(b"spoiled!")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
        before = peak()
        assert repository.scrub().damaged_chunks == 150
        report = repository.restore(version.uid, str(tmp_path / "out.img"))
        assert report.damaged_chunks == 150
        assert [extent.length for extent in report.damaged_extents] == [150 * length]
        grown = peak() - before
        assert grown < 100 * 1024, "KiB; the damaged objects themselves are 150 MiB"


def test_an_init_that_failed_halfway_is_completed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import backy_core.initialise as module

    def failing(*_: Any) -> None:
        raise OutOfSpace("no space left at the store")

    places = {"store": str(tmp_path / "store"), "metadata": f"sqlite://{tmp_path}/metadata.sqlite"}
    monkeypatch.setenv("HOME", str(tmp_path))
    really = module.write_config
    monkeypatch.setattr(module, "write_config", failing)
    with pytest.raises(OutOfSpace):
        Repository.create(str(tmp_path / "r.toml"), **places)
    monkeypatch.setattr(module, "write_config", really)
    with Repository.create(str(tmp_path / "r.toml"), **places) as repository:
        run(repository, MemorySource(b"x"))
    with pytest.raises(BackyError, match="initialised already"):
        Repository.create(str(tmp_path / "r.toml"), **places)


def test_a_refused_init_leaves_no_settings_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    first = {"store": str(tmp_path / "store"), "metadata": f"sqlite://{tmp_path}/one.sqlite"}
    Repository.create(str(tmp_path / "one.toml"), **first).close()
    second = {"store": str(tmp_path / "store"), "metadata": f"sqlite://{tmp_path}/two.sqlite"}
    with pytest.raises(BackyError, match="another --store"):
        Repository.create(str(tmp_path / "two.toml"), **second)
    assert not (tmp_path / "two.toml").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_backup_soon_and_cleanly(place: SimpleNamespace, number: int) -> None:
    place.init("--block-size", "65536")
    image = place.base / "disk.img"
    codes = []
    for attempt in range(8):
        image.write_bytes(os.urandom(800 * 65536))
        process = place.start("backup", str(image), f"vm-{attempt}")
        time.sleep(0.3 + 0.04 * attempt)
        process.send_signal(number)
        _, err = process.communicate(timeout=25)  # a turn taken and never given back would make it wait for 30
        codes.append(process.returncode)
        assert "Traceback" not in err
    assert set(codes) <= {0, 128 + number}
    assert 128 + number in codes, "at least one was interrupted"
    assert place.run("cleanup").code == 0
    place.check(clean=True)
