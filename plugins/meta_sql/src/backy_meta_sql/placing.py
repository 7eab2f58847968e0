"""Finds the place of a version that is taken over from the store, and holds it until the version is visible there.

A version is placed where nobody can see its rows yet: nothing younger is in its lineage, nothing branches from there,
and nobody writes there. From then on no other version begins in that lineage, and what the place sees of older rows is
kept, as for a version (see `removal`). Every step looks again whether the place is still free.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from sqlalchemy import Connection, text

from backy_core.errors import InternalError, VersionBusy
from backy_core.model import Version
from backy_meta_sql.removal import delete_rows
from backy_meta_sql.rows import inserted, named, read_versions

__all__ = ["claim", "clear", "require_place"]

_BATCH = 2048
_OWN_LINEAGES = 2**47
"""From here on, at random, are the numbers of lineages that are begun for a version that cannot have its old place: one
that a manifest still to be read names must not be taken for one of those. Later numbers are higher still."""

_LINEAGE = text("SELECT volume, block_size, parent, parent_birth FROM lineages WHERE id = :lineage")
_TAKEN = (
    "SELECT birth FROM versions WHERE lineage = :lineage AND (birth >= :birth OR state = 'writing')"
    " UNION ALL SELECT parent_birth FROM lineages WHERE parent = :lineage AND parent_birth >= :birth"
)
_TAKEN_FOR_CLAIM = text(
    f"{_TAKEN} UNION ALL SELECT birth FROM placed WHERE lineage = :lineage AND uid <> :uid AND session <> :session"
    " AND session IN (SELECT id FROM sessions)"
)
_TAKEN_FROM_HOLDER = text(
    f"{_TAKEN} UNION ALL SELECT birth FROM placed WHERE lineage = :lineage AND birth >= :birth AND uid <> :uid"
)
_FORMER = text("SELECT lineage, birth FROM placed WHERE uid = :uid")
_PLACE = text(
    "INSERT INTO placed (uid, lineage, birth, session) VALUES (:uid, :lineage, :birth, :session)"
    " ON CONFLICT (uid) DO UPDATE SET lineage = excluded.lineage, birth = excluded.birth, session = excluded.session"
)
_HELD = text(
    "SELECT p.uid FROM placed p WHERE p.uid = :uid AND p.lineage = :lineage AND p.birth = :birth"
    " AND p.session = :session"
)
_ABANDONED = text("DELETE FROM placed WHERE lineage = :lineage AND uid <> :uid")
_PARENT = text(
    "SELECT v.birth FROM versions v JOIN lineages l ON l.id = v.lineage WHERE v.lineage = :lineage"
    " AND v.birth = :birth AND v.state IN ('valid', 'invalid') AND l.block_size = :block_size"
)
_LAST_BIRTH = text("UPDATE lineages SET last_birth = :birth WHERE id = :lineage AND last_birth < :birth")
_SEEN = text(
    "SELECT coalesce(max(birth), 0) FROM (SELECT max(birth) AS birth FROM versions WHERE lineage = :lineage"
    " UNION ALL SELECT max(parent_birth) FROM lineages WHERE parent = :lineage) AS births"
)
_ROWS = text("SELECT idx, birth, chunk FROM map WHERE lineage = :lineage AND birth > :seen LIMIT :limit")


@dataclass(frozen=True, slots=True)
class _Place:
    lineage: int
    birth: int
    parent: tuple[int, int] | None


def claim(connection: Connection, session: int, version: Version) -> Version:
    """Find the version's place and hold it for this session; rows that lie there are still to be cleared.

    Raises `InternalError` for a version that is known already, in whatever state.
    """
    if version.birth < 1 or version.lineage < 1:
        raise InternalError(f"{named(version)} has no place: lineage {version.lineage}, birth {version.birth}")
    if read_versions(connection, "WHERE v.uid = :uid", uid=version.uid):
        raise InternalError(f"{named(version)} is known already and cannot be taken over")
    wished = _Place(version.lineage, version.birth, version.parent)
    former = connection.execute(_FORMER, {"uid": version.uid}).one_or_none()
    if former is not None and former.lineage != version.lineage:
        # A killed run had given it a lineage of its own: that one is used again.
        wished = _Place(former.lineage, former.birth, None)
    place = _fit(connection, session, version, wished)
    values = {"uid": version.uid, "lineage": place.lineage, "birth": place.birth, "session": session}
    # Places that their runs gave up: what lies there and nobody sees is cleared with what lies here.
    connection.execute(_ABANDONED, values)
    connection.execute(_PLACE, values)
    # A birth is never given again, not even when nothing comes of this.
    connection.execute(_LAST_BIRTH, values)
    return replace(version, lineage=place.lineage, birth=place.birth, parent=place.parent)


def clear(connection: Connection, session: int, version: Version) -> bool:
    """Delete some of the rows that lie unseen at a place, and around it; whether none is left."""
    require_place(connection, session, version)
    values = {"lineage": version.lineage, "limit": _BATCH}
    seen = connection.execute(_SEEN, values).scalar_one()
    rows = connection.execute(_ROWS, values | {"seen": seen}).all()
    delete_rows(connection, version.lineage, rows)
    return len(rows) < _BATCH


def require_place(connection: Connection, session: int, version: Version) -> None:
    """Raise `InternalError` unless this session holds the version's place, `VersionBusy` when that is free no more."""
    values = {"uid": version.uid, "lineage": version.lineage, "birth": version.birth, "session": session}
    if connection.execute(_HELD, values).one_or_none() is None:
        raise InternalError(f"{named(version)} was not placed by this run (session {session}), or not there")
    if connection.execute(_TAKEN_FROM_HOLDER, values).first() is not None:
        raise VersionBusy(f"the place of {named(version)} was taken by another version meanwhile; take it over again")


def _fit(connection: Connection, session: int, version: Version, wished: _Place) -> _Place:
    values = {"lineage": wished.lineage, "birth": wished.birth, "uid": version.uid, "session": session}
    found = connection.execute(_LINEAGE, values).one_or_none()
    if found is None:
        parent = _parent(connection, version, wished.parent)
        _make_lineage(connection, version, parent, wished.lineage)
        return _Place(wished.lineage, wished.birth, parent)
    same = (found.volume, found.block_size) == (version.volume, version.block_size)
    if same and connection.execute(_TAKEN_FOR_CLAIM, values).first() is None:
        parent = None if found.parent is None else (found.parent, found.parent_birth)
        return _Place(wished.lineage, wished.birth, parent)
    return _Place(_make_lineage(connection, version, None, None), 1, None)


def _parent(connection: Connection, version: Version, parent: tuple[int, int] | None) -> tuple[int, int] | None:
    # A version that is being written would still change, one that is going is not worth holding on to.
    if parent is None:
        return None
    values = {"lineage": parent[0], "birth": parent[1], "block_size": version.block_size}
    return parent if connection.execute(_PARENT, values).one_or_none() is not None else None


def _make_lineage(connection: Connection, version: Version, parent: tuple[int, int] | None, number: int | None) -> int:
    values = {
        "volume": version.volume,
        "block_size": version.block_size,
        "parent": None if parent is None else parent[0],
        "parent_birth": None if parent is None else parent[1],
    }
    if number is None:
        number = _OWN_LINEAGES + secrets.randbelow(_OWN_LINEAGES)
    return inserted(connection, "lineages", values | {"id": number})
