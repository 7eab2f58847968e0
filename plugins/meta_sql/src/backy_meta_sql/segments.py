"""Segments of block maps and their pieces: who lists them, and that they go with the last version that does."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, text

from backy_core.contracts.meta import MOST_PLANNED
from backy_core.errors import InternalError
from backy_core.model import NONCE_LENGTH, Segment, SegmentPiece, Version, piece_key
from backy_meta_sql.dooming import doom
from backy_meta_sql.rows import execute_many, inserted, named, wanted
from backy_meta_sql.writing import require_writer

__all__ = ["add_segment", "append", "link", "list_segments", "mark_bad", "plan_pieces", "publish", "release"]

_LISTED = text(
    "SELECT s.id, s.lineage, s.since, s.entries, s.bad, p.digest, p.nonce, p.stored_size, p.first"
    " FROM versions v JOIN version_segments l ON l.version = v.id JOIN segments s ON s.id = l.segment"
    " LEFT JOIN pieces p ON p.segment = s.id WHERE v.uid = :uid ORDER BY l.place, p.place"
)
_UPLOAD = text("INSERT INTO uploads (digest, nonce, session, kind) VALUES (:digest, :nonce, :session, 'm')")
_UPLOADED = text("DELETE FROM uploads WHERE digest = :digest AND nonce = :nonce AND session = :session AND kind = 'm'")
_PIECE = text(
    "INSERT INTO pieces (segment, place, digest, nonce, stored_size, first)"
    " VALUES (:segment, :place, :digest, :nonce, :stored_size, :first)"
)
_LINK = text(
    "INSERT INTO version_segments (version, place, segment)"
    " SELECT :version, coalesce(max(place) + 1, 0), :segment FROM version_segments WHERE version = :version"
)
_UNLISTED = wanted(
    "SELECT s.id FROM segments s WHERE s.id IN :segments"
    " AND NOT EXISTS (SELECT 1 FROM version_segments l WHERE l.segment = s.id)",
    "segments",
)
_PIECES = wanted("SELECT DISTINCT digest, nonce FROM pieces WHERE segment IN :segments", "segments")
_SHARED = text("SELECT 1 FROM pieces WHERE digest = :digest AND nonce = :nonce LIMIT 1")


def list_segments(connection: Connection, uid: str) -> list[Segment]:
    """See `MetaStore.segments`."""
    found: list[Segment] = []
    pieces: list[SegmentPiece] = []
    for row in connection.execute(_LISTED, {"uid": uid}):
        if not found or found[-1].id != row.id:
            _complete(found, pieces)
            found.append(Segment(row.lineage, row.since, row.entries, (), row.id, bool(row.bad)))
            pieces = []
        if row.digest is not None:
            pieces.append(SegmentPiece(bytes(row.digest), bytes(row.nonce), row.stored_size, row.first))
    _complete(found, pieces)
    return found


def link(connection: Connection, session: int, version: Version, segments: Sequence[Segment]) -> None:
    """See `MetaStore.link_segments`."""
    writer = require_writer(connection, session, version)
    numbers = [segment.id for segment in segments]
    known = set(
        connection.execute(
            wanted("SELECT id FROM segments WHERE id IN :segments", "segments"), {"segments": numbers}
        ).scalars()
    )
    lost = [number for number in numbers if number not in known]
    if lost:
        raise InternalError(f"{named(version)} is to list segment {lost[0]}, which is not there; nothing was linked")
    former = _unlink(connection, writer)
    for number in numbers:
        connection.execute(_LINK, {"version": writer, "segment": number})
    _drop_unlisted(connection, former)


def plan_pieces(connection: Connection, session: int, version: Version, digests: Sequence[bytes]) -> list[bytes]:
    """See `MetaStore.plan_pieces`."""
    if len(digests) > MOST_PLANNED:
        raise InternalError(f"{len(digests)} pieces were planned at once; {MOST_PLANNED} is the most")
    require_writer(connection, session, version)
    nonces = [secrets.token_bytes(NONCE_LENGTH) for _ in digests]
    uploads = [
        {"digest": digest, "nonce": nonce, "session": session} for digest, nonce in zip(digests, nonces, strict=True)
    ]
    execute_many(connection, _UPLOAD, uploads)
    return nonces


def publish(connection: Connection, session: int, version: Version, segment: Segment) -> Segment:
    """See `MetaStore.publish_segment`."""
    writer = require_writer(connection, session, version)
    uploads = [{"digest": piece.digest, "nonce": piece.nonce, "session": session} for piece in segment.pieces]
    if execute_many(connection, _UPLOADED, uploads) != len(uploads):
        raise InternalError(f"a piece for {named(version)} was never planned by this run; nothing was published")
    return add_segment(connection, writer, segment)


def add_segment(connection: Connection, version: int, segment: Segment) -> Segment:
    """Record a segment that is not known yet, last in the list of the version with this number."""
    values = {"lineage": segment.lineage, "since": segment.since, "entries": segment.entries}
    number = inserted(connection, "segments", values)
    pieces = [
        {
            "segment": number,
            "place": place,
            "digest": piece.digest,
            "nonce": piece.nonce,
            "stored_size": piece.stored_size,
            "first": piece.first,
        }
        for place, piece in enumerate(segment.pieces)
    ]
    execute_many(connection, _PIECE, pieces)
    append(connection, version, number)
    return replace(segment, id=number, bad=False)


def append(connection: Connection, version: int, segment: int) -> None:
    """Have the version with this number list this segment, too, as its last."""
    connection.execute(_LINK, {"version": version, "segment": segment})


def mark_bad(connection: Connection, segment: Segment) -> None:
    """See `MetaStore.mark_segment_bad`."""
    connection.execute(text("UPDATE segments SET bad = 1 WHERE id = :id"), {"id": segment.id})


def release(connection: Connection, version: int) -> None:
    """The version with this number lists no segment any more; those that nobody else lists go."""
    _drop_unlisted(connection, _unlink(connection, version))


def _complete(found: list[Segment], pieces: list[SegmentPiece]) -> None:
    if found:
        found[-1] = replace(found[-1], pieces=tuple(pieces))


def _unlink(connection: Connection, version: int) -> list[int]:
    values = {"version": version}
    former = connection.execute(
        text("SELECT DISTINCT segment FROM version_segments WHERE version = :version"), values
    ).scalars()
    listed = list(former)
    connection.execute(text("DELETE FROM version_segments WHERE version = :version"), values)
    return listed


def _drop_unlisted(connection: Connection, candidates: Sequence[int]) -> None:
    # SQLite's writer lock is the lock; where rows are locked one by one, these are locked before they are tested.
    if not candidates:
        return
    unlisted = list(connection.execute(_UNLISTED, {"segments": list(candidates)}).scalars())
    if not unlisted:
        return
    pieces = [(bytes(row.digest), bytes(row.nonce)) for row in connection.execute(_PIECES, {"segments": unlisted})]
    # The foreign key of the lists refuses this for a segment that is listed after all; the pieces go with it.
    execute_many(connection, text("DELETE FROM segments WHERE id = :id"), [{"id": number} for number in unlisted])
    # Segments that were taken over may share objects: what another one still needs stays.
    gone = [name for name in pieces if not _is_shared(connection, *name)]
    doom(connection, [piece_key(*name) for name in gone])


def _is_shared(connection: Connection, digest: bytes, nonce: bytes) -> bool:
    return connection.execute(_SHARED, {"digest": digest, "nonce": nonce}).first() is not None
