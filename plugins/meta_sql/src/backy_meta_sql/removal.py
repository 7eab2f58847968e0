"""Removes versions: sets one removing, then deletes in steps the map rows that nobody else sees.

Births that must be kept for: those of versions that are not removing, those that other lineages branch from, and those
at which a version is being taken over from the store. A row is seen by such a birth if it is the youngest for its index
up to there. Between two neighbouring births that are kept for, or still waiting to be purged, no index ever has two
rows; so the rows to delete are all found from those that are younger than the oldest waiting birth. A version being
written never stands in the way: its base is held while it is written, nothing lies between the two, and one that was
interrupted is only continued on a base that is still there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from backy_core.contracts.meta import PurgeStep
from backy_core.errors import InternalError, InvalidInput, NotFound, VersionBusy
from backy_core.model import Version, VersionState
from backy_meta_sql.attributes import refuse_protected
from backy_meta_sql.fences import raise_generation
from backy_meta_sql.rows import execute_many, named, read_version, read_versions
from backy_meta_sql.segments import release
from backy_meta_sql.writing import queue_chunks

__all__ = ["Cursor", "delete_rows", "pin", "purge", "remove", "unpin"]

_HOLDER = " `{command}` of process {pid} on {host}; wait for it or stop it"
_PINS = text(
    "SELECT s.command, s.pid, s.host FROM pins p JOIN sessions s ON s.id = p.session WHERE p.version = :id"
    " ORDER BY p.id LIMIT 1"
)
_WRITER = text("SELECT command, pid, host FROM sessions WHERE id = :session")
_KEPT = (
    "(SELECT birth FROM versions WHERE lineage = :lineage AND state <> 'removing'"
    " UNION ALL SELECT birth FROM placed WHERE lineage = :lineage"
    " UNION ALL SELECT parent_birth FROM lineages WHERE parent = :lineage AND id <> :child) AS kept"
)
_BELOW = text(f"SELECT max(birth) FROM {_KEPT} WHERE birth < :birth")
_FROM = text(f"SELECT min(birth) FROM {_KEPT} WHERE birth >= :birth")
_OLDEST_WAITING = text(
    "SELECT min(birth) FROM versions WHERE lineage = :lineage AND state = 'removing' AND birth > :low"
)
_YOUNGER = text("SELECT idx, birth, chunk FROM map WHERE lineage = :lineage AND birth > :low LIMIT :limit")
_REPLACING = text(
    "SELECT birth, idx FROM map WHERE lineage = :lineage AND (birth, idx) > (:at_birth, :at_idx) AND birth <= :high"
    " ORDER BY birth, idx LIMIT :window"
)
_REPLACED = text(
    "SELECT DISTINCT v.idx, v.birth, v.chunk FROM map r CROSS JOIN map v WHERE r.lineage = :lineage"
    " AND (r.birth, r.idx) > (:at_birth, :at_idx) AND (r.birth, r.idx) <= (:end_birth, :end_idx)"
    " AND v.lineage = r.lineage AND v.idx = r.idx AND v.birth > :low AND v.birth < r.birth LIMIT :limit"
)
_DELETE = text("DELETE FROM map WHERE lineage = :lineage AND idx = :idx AND birth = :birth")
_NO_LINEAGE = 0
_BEYOND = 2**62


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a purge has looked through the rows of one window of births; void when the window is another."""

    low: int
    first: int
    high: int
    birth: int
    idx: int


@dataclass(frozen=True, slots=True)
class _Place:
    """A birth in a lineage that is no longer kept for. `child`: the dying lineage that branched from here, if any."""

    lineage: int
    birth: int
    child: int
    dying: bool


def remove(connection: Connection, session: int, uid: str, now: datetime) -> Version:
    """See `MetaStore.remove_version`. `now`: whether a protection has run out by the clock."""
    version, row = read_version(connection, uid)
    if version.state is VersionState.REMOVING:
        return version
    refuse_protected(version, now)
    if row.session is not None and row.session != session:
        writer = connection.execute(_WRITER, {"session": row.session}).one()
        raise VersionBusy(f"{named(version)} is being written by" + _HOLDER.format(**writer._mapping))
    holder = connection.execute(_PINS, {"id": row.id}).one_or_none()
    if holder is not None:
        raise VersionBusy(f"{named(version)} is pinned by" + _HOLDER.format(**holder._mapping))
    connection.execute(text("UPDATE versions SET state = 'removing', session = NULL WHERE id = :id"), {"id": row.id})
    connection.execute(text("DELETE FROM pins WHERE writer = :id"), {"id": row.id})
    if version.state is VersionState.WRITING and row.manifest is not None:
        # It was promised: what was recorded for its finish counts no more.
        connection.execute(text("UPDATE versions SET finished = NULL WHERE id = :id"), {"id": row.id})
        connection.execute(text("DELETE FROM promises WHERE version = :id"), {"id": row.id})
        connection.execute(text("DELETE FROM stats WHERE uid = :uid"), {"uid": uid})
    raise_generation(connection)
    return read_version(connection, uid)[0]


def pin(connection: Connection, session: int, uid: str) -> Version:
    """See `MetaStore.pin`."""
    version, row = read_version(connection, uid)
    if version.state is VersionState.REMOVING:
        raise NotFound(f"{named(version)} is being removed; choose another version")
    if version.interrupted:
        raise NotFound(f"{named(version)} was interrupted and never finished; choose another version")
    if version.state is VersionState.WRITING and row.session != session:
        raise VersionBusy(f"{named(version)} is still being written; wait for the backup to end")
    connection.execute(
        text("INSERT INTO pins (session, version) VALUES (:session, :version)"),
        {"session": session, "version": row.id},
    )
    return version


def unpin(connection: Connection, session: int, uid: str) -> None:
    """See `MetaStore.unpin`."""
    connection.execute(
        text(
            "DELETE FROM pins WHERE session = :session AND writer IS NULL"
            " AND version = (SELECT id FROM versions WHERE uid = :uid)"
        ),
        {"session": session, "uid": uid},
    )


def purge(
    connection: Connection, uid: str, limit: int, cursors: Mapping[tuple[str, int], Cursor]
) -> tuple[PurgeStep, dict[tuple[str, int], Cursor]]:
    """One step of `MetaStore.purge`, and the cursors to come back with."""
    if limit < 1:
        raise InvalidInput(f"a purge deletes at least one row in a step, not {limit}")
    found = read_versions(connection, "WHERE v.uid = :uid", uid=uid)
    if not found:
        return PurgeStep(0, True), {}
    version, row = found[0]
    if version.state is not VersionState.REMOVING:
        raise InternalError(f"{named(version)} is {version.state.value}, not removing; its rows are kept")
    moved: dict[tuple[str, int], Cursor] = {}
    deleted = 0
    places = _places(connection, version, row.id)
    for place in places:
        if deleted == limit:
            return PurgeStep(deleted, False), moved
        rows, done, cursor = _purge_place(connection, place, limit - deleted, cursors.get((uid, place.lineage)))
        deleted += rows
        if cursor is not None:
            moved[uid, place.lineage] = cursor
        if not done:
            return PurgeStep(deleted, False), moved
    release(connection, row.id)
    connection.execute(text("DELETE FROM versions WHERE id = :id"), {"id": row.id})
    for place in places:
        if place.dying:
            connection.execute(text("DELETE FROM lineages WHERE id = :id"), {"id": place.lineage})
    return PurgeStep(deleted, True), moved


def _places(connection: Connection, version: Version, number: int) -> list[_Place]:
    """Where rows may go with this version: its own birth and, if its lineage dies with it, the birth that one branched
    from, and so on upwards."""
    places: list[_Place] = []
    lineage, birth, child = version.lineage, version.birth, _NO_LINEAGE
    while True:
        values = {"lineage": lineage, "child": child, "id": number}
        others = connection.execute(
            text(
                "SELECT (SELECT count(*) FROM versions WHERE lineage = :lineage AND id <> :id)"
                " + (SELECT count(*) FROM lineages WHERE parent = :lineage AND id <> :child)"
                " + (SELECT count(*) FROM placed WHERE lineage = :lineage)"
            ),
            values,
        ).scalar_one()
        places.append(_Place(lineage, birth, child, others == 0))
        if others:
            return places
        parent = connection.execute(text("SELECT parent, parent_birth FROM lineages WHERE id = :lineage"), values).one()
        if parent.parent is None:
            return places
        child, lineage, birth = lineage, parent.parent, parent.parent_birth
        waits = connection.execute(
            text("SELECT count(*) FROM versions WHERE lineage = :lineage AND birth = :birth"),
            {"lineage": lineage, "birth": birth},
        ).scalar_one()
        if waits:
            # That birth has a version: its rows go when it goes.
            return places


def _purge_place(
    connection: Connection, place: _Place, limit: int, cursor: Cursor | None
) -> tuple[int, bool, Cursor | None]:
    values: dict[str, Any] = {"lineage": place.lineage, "birth": place.birth, "child": place.child}
    low = 0 if place.dying else connection.execute(_BELOW, values).scalar_one() or 0
    high = None if place.dying else connection.execute(_FROM, values).scalar_one()
    if high == place.birth:
        # Another lineage branches from this very birth: it goes on being kept for.
        return 0, True, None
    if high is None:
        rows = connection.execute(_YOUNGER, {"lineage": place.lineage, "low": low, "limit": limit + 1}).all()
        delete_rows(connection, place.lineage, rows[:limit])
        return len(rows[:limit]), len(rows) <= limit, None
    waiting = connection.execute(_OLDEST_WAITING, {"lineage": place.lineage, "low": low}).scalar_one()
    first = place.birth if waiting is None else min(place.birth, waiting)
    if cursor is None or (cursor.low, cursor.first, cursor.high) != (low, first, high):
        cursor = Cursor(low, first, high, first, _BEYOND)
    return _purge_window(connection, place.lineage, limit, cursor)


def _purge_window(connection: Connection, lineage: int, limit: int, cursor: Cursor) -> tuple[int, bool, Cursor | None]:
    window = 4 * limit
    values = {"lineage": lineage, "low": cursor.low, "high": cursor.high}
    values |= {"at_birth": cursor.birth, "at_idx": cursor.idx}
    replacing = connection.execute(_REPLACING, values | {"window": window}).all()
    if not replacing:
        return 0, True, None
    last = replacing[-1]
    end = {"end_birth": last.birth, "end_idx": last.idx, "limit": limit + 1}
    replaced = connection.execute(_REPLACED, values | end).all()
    delete_rows(connection, lineage, replaced[:limit])
    if len(replaced) > limit:
        return limit, False, cursor
    moved = Cursor(cursor.low, cursor.first, cursor.high, last.birth, last.idx)
    return len(replaced), len(replacing) < window, moved


def delete_rows(connection: Connection, lineage: int, rows: Any) -> None:
    """Delete these rows of a lineage, and have their chunks looked at by the next cleanup."""
    execute_many(connection, _DELETE, [{"lineage": lineage, "idx": row.idx, "birth": row.birth} for row in rows])
    queue_chunks(connection, {row.chunk for row in rows if row.chunk is not None})
