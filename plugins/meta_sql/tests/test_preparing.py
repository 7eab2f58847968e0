"""What a new version needs before it is written (holes, a copy of its base), in steps that may be interrupted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import oracle
import pytest
from backy_meta_sql import SqlSettings, lineages
from backy_meta_sql.store import SqlMetaStore, open_sqlite

from backy_core.contracts.meta import NewChunk, Writing
from backy_core.model import Version
from backy_core.testing.meta_steps import finish

BLOCKS = 3000


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[SqlMetaStore]:
    with open_sqlite(f"sqlite://{tmp_path}/m.db", SqlSettings(), True) as meta:
        meta.initialise(oracle.facts())
        yield meta


def request(volume: str, blocks: int, base_uid: str | None) -> lineages.Request:
    return lineages.Request(volume, blocks * oracle.BLOCK, oracle.BLOCK, "x", None, base_uid, oracle.NOW)


def begin(meta: SqlMetaStore, session: int, volume: str, blocks: int, base_uid: str | None = None) -> Writing:
    return meta.begin_version(
        session,
        volume=volume,
        size=blocks * oracle.BLOCK,
        block_size=oracle.BLOCK,
        source="x",
        identity=None,
        base_uid=base_uid,
        created=oracle.NOW,
    )


def backup(meta: SqlMetaStore, volume: str, blocks: int, changed: range, base_uid: str | None = None) -> Version:
    session = meta.open_session("backup")
    version = begin(meta, session, volume, blocks, base_uid).version
    for start in range(0, len(changed), 64):
        batch = [(index, sha256(f"{version.uid} {index}".encode()).digest()) for index in changed[start : start + 64]]
        missing = meta.plan(session, version, batch)
        meta.publish(session, version, [NewChunk(name, nonce, 1) for name, nonce in missing.items()], batch)
    finished = finish(meta, session, version)
    meta.close_session(session)
    return finished


def content(meta: SqlMetaStore, version: Version) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for start in range(0, version.block_count, 1024):
        blocks = meta.view(version, range(start, start + 1024))
        found.update({index: block.chunk.digest for index, block in blocks.items() if block.chunk is not None})
    return found


def branch_deeply(meta: SqlMetaStore) -> Version:
    """A version whose lineage has as many parents as one may have."""
    newest = backup(meta, "root", BLOCKS, range(0, BLOCKS, 2))
    for depth in range(lineages.MAX_PARENTS):
        newest = backup(meta, f"branch {depth}", BLOCKS, range(depth, BLOCKS, 500), newest.uid)
    return newest


def test_a_large_base_is_copied_in_steps_and_shows_the_same(meta: SqlMetaStore) -> None:
    deepest = branch_deeply(meta)
    before = content(meta, deepest)
    copy = backup(meta, "copy", BLOCKS - 10, range(0), deepest.uid)
    assert content(meta, copy) == {index: name for index, name in before.items() if index < BLOCKS - 10}
    meta.view(copy, [0])
    statements = meta.counters.statements
    meta.view(copy, [1])
    assert meta.counters.statements - statements == 1
    assert content(meta, deepest) == before


def test_a_large_volume_shrinks_in_steps_and_grows_empty(meta: SqlMetaStore) -> None:
    backup(meta, "vm", BLOCKS, range(BLOCKS))
    small = backup(meta, "vm", 10, range(0))
    large = backup(meta, "vm", BLOCKS, range(0))
    assert small.lineage == large.lineage
    assert set(content(meta, large)) == set(range(10))


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("kind", ["copy", "holes"])
def test_preparing_that_was_interrupted_is_continued(meta: SqlMetaStore, steps: int, kind: str) -> None:
    if kind == "copy":
        base, volume, blocks = branch_deeply(meta), "copy", BLOCKS
        wanted = content(meta, base)
    else:
        base, volume, blocks = backup(meta, "vm", BLOCKS, range(BLOCKS)), "vm", 10
        wanted = {index: name for index, name in content(meta, base).items() if index < 10}
    session = meta.open_session("backup")
    begun = meta._write(session, lambda c: lineages.begin(c, session, request(volume, blocks, base.uid), meta._chains))
    uid = begun.uid
    assert uid is not None
    for _ in range(steps):
        done, _rows = meta._write(session, lambda c: lineages.prepare(c, session, uid, meta._chains))
        assert not done
    half = next(version for version in meta.versions() if version.uid == uid)
    with pytest.raises(Exception, match="not being written"):
        meta.plan(session, half, [(0, None)])
    meta.close_session(session)
    session = meta.open_session("backup")
    again = begin(meta, session, volume, blocks, base.uid)
    assert (again.continued, again.version.uid) == (True, uid)
    finished = finish(meta, session, again.version)
    meta.close_session(session)
    assert content(meta, finished) == wanted
    if kind == "holes":
        assert content(meta, backup(meta, volume, BLOCKS, range(0))) == wanted


def test_rows_that_belong_to_nobody_are_never_shown(meta: SqlMetaStore, tmp_path: Path) -> None:
    base = backup(meta, "vm", 10, range(3))
    direct = sqlite3.connect(tmp_path / "m.db")
    direct.execute("INSERT INTO map SELECT lineage, 9, 7, chunk FROM map WHERE idx = 0")
    direct.execute("UPDATE lineages SET last_birth = 8")
    direct.commit()
    direct.close()
    newest = backup(meta, "vm", 10, range(0))
    assert newest.base_uid == base.uid
    assert content(meta, newest) == content(meta, base)


def test_a_half_made_copy_is_purged_like_any_other_version(meta: SqlMetaStore) -> None:
    deepest = branch_deeply(meta)
    rows = meta.usage().map_rows
    session = meta.open_session("backup")
    begun = meta._write(session, lambda c: lineages.begin(c, session, request("c", BLOCKS, deepest.uid), meta._chains))
    uid = begun.uid
    assert uid is not None
    meta._write(session, lambda c: lineages.prepare(c, session, uid, meta._chains))
    assert meta.usage().map_rows > rows
    meta.close_session(session)
    session = meta.open_session("rm")
    meta.remove_version(session, uid)
    while not meta.purge(session, uid).done:
        pass
    assert meta.usage().map_rows == rows
