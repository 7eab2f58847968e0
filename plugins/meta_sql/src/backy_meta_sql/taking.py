"""Writes the rows of a version that is taken over from the store, and makes it visible."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, text

from backy_core.contracts.meta import MOST_TAKEN, MOST_VIEWED
from backy_core.errors import InternalError
from backy_core.model import Segment, Version, VersionState
from backy_meta_sql.attribute_text import attribute_text
from backy_meta_sql.dooming import NO_OBJECT, undoom
from backy_meta_sql.placing import require_place
from backy_meta_sql.promising import record_statistics
from backy_meta_sql.reading import latest
from backy_meta_sql.rows import execute_many, inserted, instant_text, named, read_version, slices
from backy_meta_sql.segments import add_segment, append

__all__ = ["take_rows", "take_version"]

_CHUNK = text(
    "INSERT INTO chunks (digest, nonce, stored_size, bad) VALUES (:digest, :nonce, 0, 1)"
    " ON CONFLICT (digest) DO NOTHING"
)
_MAP = text(
    "INSERT INTO map (lineage, idx, birth, chunk)"
    " VALUES (:lineage, :idx, :birth, (SELECT id FROM chunks WHERE digest = :digest))"
    " ON CONFLICT (lineage, idx, birth) DO UPDATE SET chunk = excluded.chunk"
)
_BELOW = text("SELECT 1 FROM map WHERE lineage = :lineage AND birth < :birth LIMIT 1")
_BEGINS = text(
    "SELECT s.id FROM pieces p JOIN segments s ON s.id = p.segment WHERE p.digest = :digest AND p.nonce = :nonce"
    " AND p.place = 0 AND s.lineage = :lineage AND s.since = :since"
)
_PIECES = text("SELECT digest, nonce FROM pieces WHERE segment = :segment ORDER BY place")


def take_rows(
    connection: Connection,
    session: int,
    version: Version,
    bounds: Sequence[tuple[int, int]],
    rows: Sequence[tuple[int, bytes | None]],
) -> int:
    """See `MetaTakeover.take_rows`. `bounds`: the placed version's chain."""
    if len(rows) > MOST_TAKEN:
        raise InternalError(f"{len(rows)} rows were taken over at once; {MOST_TAKEN} is the most")
    if any(one >= other for (one, _), (other, _) in pairwise(rows)):
        raise InternalError(f"rows of {named(version)} are not in ascending order; nothing was taken over")
    require_place(connection, session, version)
    place: dict[str, Any] = {"lineage": version.lineage, "birth": version.birth}
    inherited: dict[int, bytes | None] = {}
    if len(bounds) > 1 or connection.execute(_BELOW, place).one_or_none() is not None:
        older = [(version.lineage, version.birth - 1), *bounds[1:]]
        for some in slices((index for index, _ in rows), MOST_VIEWED):
            blocks = latest(connection, version, older, some)
            inherited |= {index: None if b.chunk is None else b.chunk.digest for index, b in blocks.items()}
    new = [(index, digest) for index, digest in rows if inherited.get(index) != digest]
    # Sorted, so that two runs touch equal digests in the same order and never wait for each other in a ring.
    digests = sorted({digest for _, digest in new if digest is not None})
    execute_many(connection, _CHUNK, [{"digest": digest, "nonce": NO_OBJECT} for digest in digests])
    execute_many(connection, _MAP, [place | {"idx": index, "digest": digest} for index, digest in new])
    return len(new)


def take_version(
    connection: Connection, session: int, version: Version, segments: Sequence[Segment], serial: int
) -> Version:
    """See `MetaTakeover.take_version`."""
    require_place(connection, session, version)
    if version.finished is None or serial < 0:
        raise InternalError(
            f"{named(version)} was never finished, or its attributes have no serial; it is not taken over"
        )
    number = inserted(
        connection,
        "versions",
        {
            "uid": version.uid,
            "volume": version.volume,
            "state": VersionState.VALID.value,
            "size": version.size,
            "lineage": version.lineage,
            "birth": version.birth,
            "created": instant_text(version.created),
            "finished": instant_text(version.finished),
            "source": version.source,
            "identity": version.identity,
            "base_uid": version.base_uid,
            "manifest": version.manifest,
            "attributes": attribute_text(version.attributes),
            "serial": serial,
            "stored_serial": serial,
        },
    )
    if version.statistics is not None:
        record_statistics(connection, version, version.finished, version.statistics)
    for segment in segments:
        _list(connection, number, segment)
    connection.execute(text("DELETE FROM placed WHERE uid = :uid"), {"uid": version.uid})
    return read_version(connection, version.uid)[0]


def _list(connection: Connection, number: int, segment: Segment) -> None:
    """List a segment: one that says the same and has the same pieces, if there is one, else a new one.

    Two segments may begin alike: then equal pieces of both, of which the store may have one object only, lie in one.
    """
    wished = [(piece.digest, piece.nonce) for piece in segment.pieces]
    place = {"lineage": segment.lineage, "since": segment.since}
    first = {} if not wished else {"digest": wished[0][0], "nonce": wished[0][1]}
    candidates = connection.execute(_BEGINS, place | first).scalars().all() if first else ()
    for known in candidates:
        pieces = connection.execute(_PIECES, {"segment": known})
        if [(bytes(row.digest), bytes(row.nonce)) for row in pieces] == wished:
            append(connection, number, known)
            return
    add_segment(connection, number, segment)
    undoom(connection, [piece.key for piece in segment.pieces])
