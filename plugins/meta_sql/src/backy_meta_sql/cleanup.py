"""Dooms chunks that no row uses any more, and keeps the list of keys that may be deleted from the store."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from backy_core.contracts.meta import CleanupStep, Usage
from backy_core.errors import InternalError
from backy_core.model import chunk_key
from backy_meta_sql.dooming import NO_OBJECT, doom
from backy_meta_sql.rows import execute_many, wanted

__all__ = ["doom_chunks", "doom_keys", "doomed_keys", "forget_doomed", "usage"]

_UNUSED = wanted(
    "SELECT c.id, c.digest, c.nonce, c.stored_size FROM chunks c WHERE c.id IN :chunks"
    " AND NOT EXISTS (SELECT 1 FROM map m WHERE m.chunk = c.id)",
    "chunks",
)


def doom_chunks(connection: Connection, limit: int) -> CleanupStep:
    """See `MetaStore.doom_chunks`. SQLite's writer lock is the lock; the test is a statement of its own."""
    queued = connection.execute(text("SELECT chunk FROM cleanup_queue LIMIT :limit"), {"limit": limit}).scalars().all()
    if not queued:
        return CleanupStep(0, 0, 0)
    unused = connection.execute(_UNUSED, {"chunks": list(queued)}).all()
    with_object = [row for row in unused if bytes(row.nonce) != NO_OBJECT]
    doom(connection, [chunk_key(bytes(row.digest), bytes(row.nonce)) for row in with_object])
    execute_many(connection, text("DELETE FROM cleanup_queue WHERE chunk = :chunk"), [{"chunk": id} for id in queued])
    # The foreign key of the map refuses this for a chunk that is used after all.
    execute_many(connection, text("DELETE FROM chunks WHERE id = :id"), [{"id": row.id} for row in unused])
    return CleanupStep(len(queued), len(with_object), sum(row.stored_size for row in unused))


def doom_keys(connection: Connection, keys: Sequence[str]) -> None:
    """See `MetaStore.doom_keys`."""
    taken = [key for key in keys if key.startswith(("c/", "m/"))]
    if taken:
        raise InternalError(
            f"{taken[0]} is the key of a chunk or a piece; only the step that takes it from there may doom it"
        )
    doom(connection, keys)


def doomed_keys(connection: Connection, before_generation: int, limit: int) -> list[str]:
    """See `MetaStore.doomed_keys`."""
    values = {"generation": before_generation, "limit": limit}
    return list(
        connection.execute(
            text("SELECT key FROM doomed WHERE generation < :generation ORDER BY generation, key LIMIT :limit"), values
        ).scalars()
    )


def forget_doomed(connection: Connection, keys: Sequence[str]) -> None:
    """See `MetaStore.forget_doomed`."""
    execute_many(connection, text("DELETE FROM doomed WHERE key = :key"), [{"key": key} for key in keys])


def usage(connection: Connection) -> Usage:
    """See `MetaStore.usage`."""
    row = connection.execute(
        text(
            "SELECT (SELECT count(*) FROM versions) AS versions, (SELECT count(*) FROM chunks) AS chunks,"
            " (SELECT coalesce(sum(stored_size), 0) FROM chunks) AS stored_bytes,"
            " (SELECT count(*) FROM chunks WHERE bad = 1) AS bad_chunks,"
            " (SELECT count(*) FROM cleanup_queue) AS queued_chunks, (SELECT count(*) FROM doomed) AS doomed_keys,"
            " (SELECT count(*) FROM uploads) AS uploads, (SELECT count(*) FROM map) AS map_rows"
        )
    ).one()
    return Usage(**{name: int(value) for name, value in row._mapping.items()})
