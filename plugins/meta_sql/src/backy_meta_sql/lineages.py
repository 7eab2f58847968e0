"""Starts or continues the writing of a version: which base, which lineage, and the rows a new birth needs first."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from backy_core.contracts.meta import MOST_VIEWED
from backy_core.errors import InternalError, InvalidInput, NotFound
from backy_core.model import Version, VersionState, block_count
from backy_meta_sql.reading import Chains, latest
from backy_meta_sql.rows import execute_many, inserted, instant_text, named, read_version, read_versions
from backy_meta_sql.segments import release

__all__ = ["MAX_PARENTS", "Begun", "Request", "begin", "prepare"]

MAX_PARENTS = 3
"""How many lineages a lineage may descend from; each costs a lookup one more statement."""

_NEWEST_BIRTH = text(
    "SELECT max(birth) FROM (SELECT max(birth) AS birth FROM versions WHERE lineage = :lineage"
    " UNION ALL SELECT max(parent_birth) FROM lineages WHERE parent = :lineage"
    " UNION ALL SELECT max(birth) FROM placed WHERE lineage = :lineage) AS births"
)
_ABOVE = text("SELECT 1 FROM map WHERE lineage = :lineage AND birth > :birth LIMIT 1")
_NEWEST_VERSION = text("SELECT max(id) FROM versions WHERE volume = :volume AND state <> 'removing'")
_ROW = text(
    "INSERT INTO map (lineage, idx, birth, chunk) VALUES (:lineage, :idx, :birth, :chunk) ON CONFLICT DO NOTHING"
)


@dataclass(frozen=True, slots=True)
class Request:
    """What `begin_version` was asked for."""

    volume: str
    size: int
    block_size: int
    source: str
    identity: str | None
    base_uid: str | None
    created: datetime

    def __post_init__(self) -> None:
        if not self.volume or self.size < 0 or self.block_size <= 0:
            raise InvalidInput(
                f"a version needs a volume name, a size and a block size, not {self.volume!r}, {self.size}, "
                f"{self.block_size}"
            )


@dataclass(frozen=True, slots=True)
class Begun:
    """The version to write (None: ask again after purging), and interrupted versions to purge."""

    uid: str | None
    continued: bool
    leftovers: tuple[str, ...]


def begin(connection: Connection, session: int, request: Request, chains: Chains) -> Begun:
    """One transaction of `begin_version`: continue an interrupted version, or set the others removing, or start."""
    base = _base(connection, request)
    interrupted = read_versions(
        connection,
        "WHERE v.volume = :volume AND v.state = 'writing' AND v.session IS NULL AND v.manifest IS NULL",
        volume=request.volume,
    )
    kept: tuple[Version, Any] | None = None
    for version, row in interrupted:
        if _fits(version, request, base):
            kept = version, row
    leftovers = tuple(version.uid for version, _ in interrupted if kept is None or version.uid != kept[0].uid)
    if leftovers:
        removing = [{"uid": uid} for uid in leftovers]
        execute_many(connection, text("UPDATE versions SET state = 'removing' WHERE uid = :uid"), removing)
    if kept is not None:
        version, row = kept
        same = request.identity is not None and request.identity == version.identity
        values = {"position": row.position if same else 0, "source": request.source, "identity": request.identity}
        connection.execute(
            text(
                "UPDATE versions SET position = :position, source = :source, identity = :identity, session = :session"
                " WHERE id = :id"
            ),
            values | {"session": session, "id": row.id},
        )
        # What they said may change now.
        release(connection, row.id)
        _pin_base(connection, session, base, row.id)
        return Begun(version.uid, True, leftovers)
    if leftovers:
        # Their rows must be gone before their births lie below a new one.
        return Begun(None, False, leftovers)
    return Begun(_start(connection, session, request, base, chains), False, ())


def prepare(connection: Connection, session: int, uid: str, chains: Chains) -> tuple[bool, int]:
    """One step of the rows a new birth needs: holes where its base is larger, or a copy of its base.

    Whether it was the last one, and how many rows it wrote.
    """
    version, row = read_version(connection, uid)
    if row.session != session:
        raise InternalError(f"{named(version)} is not being written by this run (session {session})")
    if row.prepared is None or version.base_uid is None:
        return True, 0
    base = read_version(connection, version.base_uid)[0]
    copying = _is_copy(connection, version, base, chains)
    end = min(base.block_count, version.block_count) if copying else base.block_count
    bounds = chains.bounds(connection, base)
    start = _next_row(connection, bounds, row.prepared, end)
    stop = min(start + MOST_VIEWED, end)
    rows: list[dict[str, Any]] = []
    for index, block in latest(connection, base, bounds, range(start, stop)).items():
        if block.chunk is not None:
            chunk = block.chunk.id if copying else None
            rows.append({"lineage": version.lineage, "idx": index, "birth": version.birth, "chunk": chunk})
    execute_many(connection, _ROW, rows)
    done = stop >= end
    connection.execute(
        text("UPDATE versions SET prepared = :prepared WHERE id = :id"),
        {"prepared": None if done else stop, "id": row.id},
    )
    return done, len(rows)


def _base(connection: Connection, request: Request) -> Version | None:
    if request.base_uid is not None:
        try:
            base = read_version(connection, request.base_uid)[0]
        except NotFound as error:
            raise InvalidInput(f"there is no version {request.base_uid} to base a backup on") from error
        if not base.state.is_finished:
            raise InvalidInput(f"{named(base)} is {base.state.value}; a base must be finished")
        if base.block_size != request.block_size:
            raise InvalidInput(
                f"{named(base)} has blocks of {base.block_size} bytes; a base for blocks of {request.block_size} "
                f"must have the same"
            )
        return base
    finished = [
        version
        for version, _ in read_versions(
            connection,
            "WHERE v.id = (SELECT max(n.id) FROM versions n JOIN lineages k ON k.id = n.lineage"
            " WHERE n.volume = :volume AND k.block_size = :block_size AND n.state IN ('valid', 'invalid'))",
            volume=request.volume,
            block_size=request.block_size,
        )
    ]
    return finished[0] if finished else None


def _fits(version: Version, request: Request, base: Version | None) -> bool:
    wished = (request.size, request.block_size, None if base is None else base.uid)
    return (version.size, version.block_size, version.base_uid) == wished


def _start(connection: Connection, session: int, request: Request, base: Version | None, chains: Chains) -> str:
    count = block_count(request.size, request.block_size)
    prepared: int | None = None
    if base is not None and _is_newest(connection, base, request.volume):
        lineage = base.lineage
        prepared = count if base.block_count > count else None
    else:
        parent = base
        if base is not None and len(chains.of(connection, base.lineage)) > MAX_PARENTS:
            parent = None
            prepared = 0
        elif base is not None and base.block_count > count:
            prepared = count
        lineage = inserted(
            connection,
            "lineages",
            {
                "volume": request.volume,
                "block_size": request.block_size,
                "parent": None if parent is None else parent.lineage,
                "parent_birth": None if parent is None else parent.birth,
            },
        )
    # Births never repeat, not even when the version that had one is gone.
    connection.execute(
        text("UPDATE lineages SET last_birth = last_birth + 1 WHERE id = :lineage"), {"lineage": lineage}
    )
    birth = connection.execute(
        text("SELECT last_birth FROM lineages WHERE id = :lineage"), {"lineage": lineage}
    ).scalar_one()
    uid = secrets.token_hex(8)
    number = inserted(
        connection,
        "versions",
        {
            "uid": uid,
            "volume": request.volume,
            "state": VersionState.WRITING.value,
            "size": request.size,
            "lineage": lineage,
            "birth": birth,
            "created": instant_text(request.created),
            "source": request.source,
            "identity": request.identity,
            "base_uid": None if base is None else base.uid,
            "prepared": prepared,
            "session": session,
        },
    )
    _pin_base(connection, session, base, number)
    return uid


def _is_newest(connection: Connection, base: Version, volume: str) -> bool:
    # A removed version's rows may still lie above the base, and so may those another lineage branches from, or those of
    # a version that is being taken over from the store.
    newest_birth = connection.execute(_NEWEST_BIRTH, {"lineage": base.lineage}).scalar_one()
    newest = connection.execute(_NEWEST_VERSION, {"volume": volume}).scalar_one()
    base_number = read_version(connection, base.uid)[1].id
    if base.volume != volume or newest_birth != base.birth or newest != base_number:
        return False
    # Nor may rows that belong to nobody, which a new birth above them would show.
    return connection.execute(_ABOVE, {"lineage": base.lineage, "birth": base.birth}).one_or_none() is None


def _pin_base(connection: Connection, session: int, base: Version | None, writer: int) -> None:
    if base is not None:
        connection.execute(
            text(
                "INSERT INTO pins (session, version, writer) SELECT :session, v.id, :writer FROM versions v"
                " WHERE v.uid = :uid"
            ),
            {"session": session, "writer": writer, "uid": base.uid},
        )


def _is_copy(connection: Connection, version: Version, base: Version, chains: Chains) -> bool:
    return base.lineage != version.lineage and len(chains.of(connection, version.lineage)) == 1


def _next_row(connection: Connection, bounds: list[tuple[int, int]], start: int, end: int) -> int:
    """The first index from `start` on at which the base may hold something, or `end`: empty stretches cost nothing."""
    found = end
    for lineage, _ in bounds:
        first = connection.execute(
            text("SELECT min(idx) FROM map WHERE lineage = :lineage AND idx >= :start"),
            {"lineage": lineage, "start": start},
        ).scalar_one()
        if first is not None:
            found = min(found, first)
    return found
