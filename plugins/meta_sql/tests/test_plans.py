"""What the statements cost: every lookup is a descent of an index, whatever the size of the volume."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import oracle
import pytest
from backy_meta_sql import (
    SqlSettings,
    cleanup,
    damage,
    entries,
    found,
    lineages,
    open_meta,
    placing,
    reading,
    removal,
    segments,
    sessions,
    taking,
    writing,
)
from sqlalchemy import TextClause

from backy_core.contracts.meta import NewChunk
from backy_core.testing.meta_steps import finish

TIB = 1 << 40
BLOCK = 4 << 20


@pytest.fixture
def database(tmp_path: Path) -> sqlite3.Connection:
    meta = open_meta(f"sqlite://{tmp_path}/m.db", SqlSettings(), True)
    assert meta is not None
    meta.close()
    return sqlite3.connect(tmp_path / "m.db")


def plan_of(database: sqlite3.Connection, statement: str) -> list[str]:
    """How SQLite would run it; lists of values are shown as one value."""
    plain = re.sub(r"\(?__\[POSTCOMPILE_\w+\]\)?|IN :(\w+)", "IN (1)", statement)
    names = set(re.findall(r"(?<!:):(\w+)", plain))
    try:
        return [row[3] for row in database.execute("EXPLAIN QUERY PLAN " + plain, dict.fromkeys(names, 1))]
    finally:
        database.close()


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        (reading._IN_RANGE, "SEARCH x USING PRIMARY KEY (lineage=? AND idx=? AND birth<?)"),
        (reading._IN_RANGE, "SEARCH m USING PRIMARY KEY (lineage=? AND idx=? AND birth=?)"),
        (reading._OWN, "SEARCH map USING COVERING INDEX ix_map_birth (lineage=? AND birth=? AND idx>? AND idx<?)"),
        (removal._YOUNGER, "INDEX ix_map_birth (lineage=? AND birth>?)"),
        (removal._REPLACING, "SEARCH map USING COVERING INDEX ix_map_birth (lineage=? AND"),
        (removal._REPLACED, "SEARCH r USING COVERING INDEX ix_map_birth (lineage=? AND"),
        (removal._REPLACED, "SEARCH v USING PRIMARY KEY (lineage=? AND idx=? AND birth>? AND birth<?)"),
        (entries._COUNT, "SEARCH map USING COVERING INDEX ix_map_birth (lineage=? AND birth>? AND birth<?)"),
        (entries._MET, "SEARCH map USING"),
        (entries._BORN, "SEARCH map USING COVERING INDEX ix_map_birth (lineage=? AND"),
        (entries._WALK, "SEARCH m USING PRIMARY KEY (lineage=? AND"),
        (entries._WALK, "SEARCH c USING INTEGER PRIMARY KEY (rowid=?)"),
        (lineages._ABOVE, "SEARCH map USING COVERING INDEX ix_map_birth (lineage=? AND birth>?)"),
        (placing._ROWS, "INDEX ix_map_birth (lineage=? AND birth>?)"),
        (placing._TAKEN_FOR_CLAIM, "SEARCH versions USING"),
        (placing._TAKEN_FOR_CLAIM, "SEARCH placed USING"),
        (taking._BELOW, "SEARCH map USING COVERING INDEX ix_map_birth (lineage=? AND birth<?)"),
        (taking._MAP, "SEARCH chunks USING COVERING INDEX sqlite_autoindex_chunks_1 (digest=?)"),
        (taking._BEGINS, "SEARCH p USING INDEX ix_pieces_digest (digest=? AND nonce=?)"),
        (taking._PIECES, "SEARCH pieces USING INDEX ix_pieces_segment (segment=?)"),
        (segments._SHARED, "SEARCH pieces USING COVERING INDEX ix_pieces_digest (digest=? AND nonce=?)"),
        (segments._LISTED, "SEARCH v USING COVERING INDEX sqlite_autoindex_versions_2 (uid=?)"),
        (segments._LISTED, "SEARCH l USING PRIMARY KEY (version=?)"),
        (segments._LISTED, "SEARCH p USING INDEX ix_pieces_segment (segment=?)"),
        (segments._UNLISTED, "SEARCH l USING COVERING INDEX ix_version_segments_segment (segment=?)"),
        (sessions._UPLOADS, "SEARCH u USING INDEX ix_uploads_session (session=?)"),
        (sessions._UPLOADS, "SEARCH c USING INDEX"),
        (sessions._UPLOADS, "SEARCH p USING COVERING INDEX"),
        (found._FIND, "(digest=?)"),
        (found._NEXT, "SEARCH chunks USING INTEGER PRIMARY KEY (rowid>?)"),
        (damage._ROWS, "SEARCH m USING COVERING INDEX ix_map_chunk (chunk=?)"),
        (damage._BAD, "SCAN chunks USING INDEX ix_chunks_bad"),
        (reading._ROWS_OF_BAD, "SCAN c USING INDEX ix_chunks_bad"),
        (reading._ROWS_OF_BAD, "INDEX ix_map_chunk (chunk=? AND lineage=? AND idx<?)"),
        (cleanup._UNUSED, "SEARCH m USING COVERING INDEX ix_map_chunk (chunk=?)"),
        (writing._GOOD, "uq_chunks_digest"),
    ],
)
def test_a_statement_uses_its_index(database: sqlite3.Connection, statement: TextClause, wanted: str) -> None:
    steps = plan_of(database, statement.text)
    assert any(wanted.replace("uq_chunks_digest", "(digest=?)") in step for step in steps), steps
    assert not [step for step in steps if step.startswith(("SCAN map", "SCAN m", "SCAN v", "SCAN r", "SCAN p"))], steps
    assert not [step for step in steps if "TEMP B-TREE FOR ORDER BY" in step and "LAST" not in step], steps


def test_an_incremental_of_a_tebibyte_writes_its_changes_and_nothing_else(tmp_path: Path) -> None:
    meta = open_meta(f"sqlite://{tmp_path}/m.db", SqlSettings(), True)
    assert meta is not None
    with meta:
        meta.initialise(oracle.facts())

        def backup(size: int, changed: Sequence[int]) -> tuple[int, int]:
            session = meta.open_session("backup")
            begun = meta.begin_version(
                session,
                volume=f"vm {size}",
                size=size,
                block_size=BLOCK,
                source="x",
                identity=None,
                base_uid=None,
                created=datetime.now(UTC),
            )
            statements, rows = meta.counters.statements, meta.counters.map_rows_written
            for start in range(0, len(changed), 64):
                indexes = changed[start : start + 64]
                batch = [(i, sha256(f"{size} {begun.version.birth} {i}".encode()).digest()) for i in indexes]
                missing = meta.plan(session, begun.version, batch)
                chunks = [NewChunk(digest, nonce, 10) for digest, nonce in missing.items()]
                meta.publish(session, begun.version, chunks, batch)
            cost = meta.counters.statements - statements, meta.counters.map_rows_written - rows
            finish(meta, session, begun.version)
            meta.close_session(session)
            return cost

        costs = set()
        for size in (TIB // 16, TIB, 64 * TIB):
            backup(size, range(0, 2000))
            costs.add(backup(size, [size // BLOCK * number // 262 for number in range(262)]))
        assert len(costs) == 1
        assert costs.pop()[1] == 262
        direct = sqlite3.connect(tmp_path / "m.db")
        written = direct.execute("SELECT count(*) FROM map WHERE birth = 2").fetchone()[0]
        direct.close()
        assert written == 3 * 262
