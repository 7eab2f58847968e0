"""Writes a version's rows: taking up changed blocks, turning durable uploads into chunks."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

from backy_core.contracts.meta import MOST_PLANNED, MOST_PUBLISHED, NewChunk, PublishResult
from backy_core.errors import InternalError
from backy_core.model import NONCE_LENGTH, Version, chunk_key
from backy_meta_sql.dooming import NO_OBJECT, doom
from backy_meta_sql.rows import execute_many, named, wanted

__all__ = ["plan", "publish", "queue_chunks", "require_writer"]

_WRITER = text(
    "SELECT id FROM versions WHERE uid = :uid AND session = :session AND state = 'writing' AND prepared IS NULL"
    " AND manifest IS NULL"
)
_GOOD = wanted("SELECT id, digest FROM chunks WHERE digest IN :digests AND bad = 0", "digests")
_KNOWN = wanted("SELECT id, digest, nonce, bad FROM chunks WHERE digest IN :digests", "digests")
_REPLACED = wanted(
    "INSERT INTO cleanup_queue (chunk) SELECT DISTINCT chunk FROM map"
    " WHERE lineage = :lineage AND birth = :birth AND idx IN :indexes AND chunk IS NOT NULL ON CONFLICT DO NOTHING",
    "indexes",
)
_MAP = text(
    "INSERT INTO map (lineage, idx, birth, chunk) VALUES (:lineage, :idx, :birth, :chunk)"
    " ON CONFLICT (lineage, idx, birth) DO UPDATE SET chunk = excluded.chunk"
)
_UPLOAD = text("INSERT INTO uploads (digest, nonce, session) VALUES (:digest, :nonce, :session)")
_UPLOADED = text("DELETE FROM uploads WHERE digest = :digest AND nonce = :nonce AND session = :session AND kind = 'c'")
_CHUNK = text(
    "INSERT INTO chunks (digest, nonce, stored_size) VALUES (:digest, :nonce, :stored_size)"
    " ON CONFLICT (digest) DO NOTHING"
)
_HEAL = text("UPDATE chunks SET nonce = :nonce, stored_size = :stored_size, bad = 0 WHERE id = :chunk")
_QUEUE = text("INSERT INTO cleanup_queue (chunk) VALUES (:chunk) ON CONFLICT DO NOTHING")
_POSITION = text("UPDATE versions SET position = :position WHERE id = :id AND position < :position")


def plan(
    connection: Connection, session: int, version: Version, blocks: Sequence[tuple[int, bytes | None]]
) -> tuple[dict[bytes, bytes], int]:
    """See `MetaStore.plan`; also how many map rows were written."""
    if len(blocks) > MOST_PLANNED:
        raise InternalError(f"{len(blocks)} blocks were planned at once; {MOST_PLANNED} is the most")
    require_writer(connection, session, version)
    digests = {digest for _, digest in blocks if digest is not None}
    known: dict[bytes, int] = {}
    if digests:
        found = connection.execute(_GOOD, {"digests": sorted(digests)})
        known = {bytes(row.digest): row.id for row in found}
    mapped = {index: None if digest is None else known[digest] for index, digest in blocks if _held(digest, known)}
    _map(connection, version, mapped)
    # Sorted, so that two writers touch equal digests in the same order and never wait for each other in a ring.
    missing = {digest: secrets.token_bytes(NONCE_LENGTH) for digest in sorted(digests - known.keys())}
    uploads = [{"digest": digest, "nonce": nonce, "session": session} for digest, nonce in missing.items()]
    execute_many(connection, _UPLOAD, uploads)
    return missing, len(mapped)


def publish(
    connection: Connection,
    session: int,
    version: Version,
    chunks: Sequence[NewChunk],
    blocks: Sequence[tuple[int, bytes]],
    position: int,
) -> tuple[PublishResult, int]:
    """See `MetaStore.publish`; also how many map rows were written."""
    if max(len(chunks), len(blocks)) > MOST_PUBLISHED:
        raise InternalError(f"more than {MOST_PUBLISHED} chunks or blocks were published at once")
    writer = require_writer(connection, session, version)
    ours = sorted(chunks, key=lambda chunk: chunk.digest)
    recorded = [{"digest": chunk.digest, "nonce": chunk.nonce, "session": session} for chunk in ours]
    if execute_many(connection, _UPLOADED, recorded) != len(ours):
        raise InternalError(f"an upload for {named(version)} was never planned by this run; nothing was published")
    execute_many(connection, _CHUNK, [_values(chunk) for chunk in ours])
    digests = {chunk.digest for chunk in ours} | {digest for _, digest in blocks}
    known: dict[bytes, Row[Any]] = {}
    if digests:
        found = connection.execute(_KNOWN, {"digests": sorted(digests)})
        known = {bytes(row.digest): row for row in found}
    result = _settle(connection, ours, known)
    unknown = [digest.hex() for _, digest in blocks if digest not in known]
    if unknown:
        raise InternalError(f"a block of {named(version)} names {unknown[0]}, which is no chunk; nothing was published")
    _map(connection, version, {index: known[digest].id for index, digest in blocks})
    used = {digest for _, digest in blocks}
    queue_chunks(connection, {known[chunk.digest].id for chunk in ours if chunk.digest not in used})
    if position:
        connection.execute(_POSITION, {"position": position, "id": writer})
    return result, len({index for index, _ in blocks})


def require_writer(connection: Connection, session: int, version: Version) -> int:
    """The number of the version's row, if this session is writing it and has not promised it; else `InternalError`."""
    found = connection.execute(_WRITER, {"uid": version.uid, "session": session}).scalar_one_or_none()
    if found is None:
        raise InternalError(f"{named(version)} is not being written by this run (session {session})")
    return int(found)


def queue_chunks(connection: Connection, chunks: Iterable[int]) -> None:
    """Have the next cleanup look whether anything still uses these chunks."""
    execute_many(connection, _QUEUE, [{"chunk": chunk} for chunk in sorted(chunks)])


def _held(digest: bytes | None, known: dict[bytes, int]) -> bool:
    return digest is None or digest in known


def _values(chunk: NewChunk) -> dict[str, Any]:
    return {"digest": chunk.digest, "nonce": chunk.nonce, "stored_size": chunk.stored_size}


def _map(connection: Connection, version: Version, mapped: dict[int, int | None]) -> None:
    if not mapped:
        return
    place = {"lineage": version.lineage, "birth": version.birth}
    connection.execute(_REPLACED, {**place, "indexes": list(mapped)})
    execute_many(connection, _MAP, [{**place, "idx": index, "chunk": chunk} for index, chunk in sorted(mapped.items())])


def _settle(connection: Connection, ours: Sequence[NewChunk], known: dict[bytes, Row[Any]]) -> PublishResult:
    new, lost = 0, 0
    healed: dict[bytes, dict[str, Any]] = {}
    doomed: list[str] = []
    for chunk in ours:
        row = known[chunk.digest]
        if bytes(row.nonce) == chunk.nonce:
            new += 1
        elif row.bad and chunk.digest not in healed:
            healed[chunk.digest] = _values(chunk) | {"chunk": row.id}
            if bytes(row.nonce) != NO_OBJECT:
                doomed.append(chunk_key(chunk.digest, bytes(row.nonce)))
        else:
            lost += 1
            doomed.append(chunk_key(chunk.digest, chunk.nonce))
    execute_many(connection, _HEAL, list(healed.values()))
    doom(connection, doomed)
    return PublishResult(new, lost, len(healed))
