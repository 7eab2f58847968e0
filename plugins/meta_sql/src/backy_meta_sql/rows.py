"""Reads versions and chunks out of rows; instants are kept as ISO text in UTC, which sorts everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, TextClause, bindparam, text

from backy_core.errors import NotFound
from backy_core.model import BackupStatistics, Chunk, Version, VersionState
from backy_meta_sql.attribute_text import attributes_of

__all__ = [
    "STATISTICS",
    "execute_many",
    "inserted",
    "instant_text",
    "named",
    "read_version",
    "read_versions",
    "slices",
    "to_chunk",
    "wanted",
]

T = TypeVar("T")

_MANY = 32

STATISTICS = tuple(field.name for field in fields(BackupStatistics))

_VERSIONS = (
    "SELECT v.id, v.uid, v.volume, v.state, v.size, l.block_size, v.lineage, v.birth, v.created, v.finished, v.source,"
    " v.identity, v.base_uid, v.session, v.position, v.prepared, v.manifest, v.serial, v.stored_serial, v.attributes,"
    " l.parent, l.parent_birth, s.uid AS statistics_uid, "
    + ", ".join(f"s.{name}" for name in STATISTICS)
    + " FROM versions v JOIN lineages l ON l.id = v.lineage LEFT JOIN stats s ON s.uid = v.uid"
)


def instant_text(instant: datetime) -> str:
    """An aware instant as text that sorts by time."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")


def read_versions(connection: Connection, where: str = "", **parameters: Any) -> list[tuple[Version, Row[Any]]]:
    """The versions, with their rows, that fit a condition on `v`, in the order in which they began."""
    rows = connection.execute(text(f"{_VERSIONS} {where}"), parameters).all()
    return sorted(((_version(row), row) for row in rows), key=lambda pair: pair[1].id)


def read_version(connection: Connection, uid: str) -> tuple[Version, Row[Any]]:
    """The version `uid` and its row; raises `NotFound`."""
    found = read_versions(connection, "WHERE v.uid = :uid", uid=uid)
    if not found:
        raise NotFound(f"there is no version {uid}; `backy ls` lists those there are")
    return found[0]


def named(version: Version) -> str:
    """A version as messages name it."""
    return f"{version.volume} (uid {version.uid})"


def to_chunk(row: Any) -> Chunk:
    """The chunk in the columns chunk, digest, nonce, stored_size, bad of a row."""
    return Chunk(row.chunk, bytes(row.digest), bytes(row.nonce), row.stored_size, bool(row.bad))


def wanted(statement: str, *names: str) -> TextClause:
    """A statement whose parameters `names` are lists, for `IN`."""
    return text(statement).bindparams(*(bindparam(name, expanding=True) for name in names))


def execute_many(connection: Connection, statement: TextClause, rows: Sequence[dict[str, Any]]) -> int:
    """Run one statement over many rows at once; how many rows of the database it touched. No rows: nothing happens."""
    if len(rows) < _MANY:
        return connection.execute(statement, rows).rowcount if rows else 0
    # Handed to the driver as they are, in its own notation: SQLAlchemy would take longer over each row than SQLite.
    compiled = statement.compile(dialect=connection.dialect)
    return connection.exec_driver_sql(str(compiled), rows).rowcount


def inserted(connection: Connection, table: str, values: dict[str, Any]) -> int:
    """Insert one row; the number the database gave it.

    Written as text, because declaring the tables to SQLAlchemy would cost each command some 40 ms.
    """
    names = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    statement = text(f"INSERT INTO {table} ({names}) VALUES ({places}) RETURNING id")
    return int(connection.execute(statement, values).scalar_one())


def slices(items: Iterable[T], length: int) -> list[list[T]]:
    """The items in lists of at most `length`."""
    everything = list(items)
    return [everything[start : start + length] for start in range(0, len(everything), length)]


def _version(row: Row[Any]) -> Version:
    state = VersionState(row.state)
    statistics = None
    finished = None
    # Both are recorded when a version is promised, and count from when it is finished.
    if row.finished is not None and state is not VersionState.WRITING:
        finished = datetime.fromisoformat(row.finished)
    if row.statistics_uid is not None and state is not VersionState.WRITING:
        statistics = BackupStatistics(**{name: getattr(row, name) for name in STATISTICS})
    return Version(
        uid=row.uid,
        volume=row.volume,
        state=state,
        size=row.size,
        block_size=row.block_size,
        lineage=row.lineage,
        birth=row.birth,
        created=datetime.fromisoformat(row.created),
        finished=finished,
        source=row.source,
        identity=row.identity,
        base_uid=row.base_uid,
        interrupted=state is VersionState.WRITING and row.session is None,
        statistics=statistics,
        parent=None if row.parent is None else (row.parent, row.parent_birth),
        manifest=None if row.manifest is None else bytes(row.manifest),
        attributes=attributes_of(row.attributes),
    )
