"""Finishes versions in two steps: first the manifest is fixed; once it is in the store, the version is made valid."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from backy_core.contracts.meta import Promise
from backy_core.errors import InternalError, NotFound, VersionBusy
from backy_core.model import Attributes, BackupStatistics, Version, VersionState
from backy_meta_sql.attribute_text import attribute_text
from backy_meta_sql.fences import raise_generation
from backy_meta_sql.reading import bad_indexes
from backy_meta_sql.rows import STATISTICS, instant_text, named, read_version, read_versions
from backy_meta_sql.writing import require_writer

__all__ = ["finish", "promise", "promises", "record_statistics"]

_PROMISE = text("UPDATE versions SET manifest = :digest, finished = :finished, attributes = :attributes WHERE id = :id")
_CONTENT = text("INSERT INTO promises (version, manifest) VALUES (:id, :manifest)")
_FINISH = text("UPDATE versions SET state = :state, session = NULL WHERE id = :id")
_RUN = ("volume", "created", "finished", "size", *STATISTICS)
_STATISTICS = text(
    f"INSERT INTO stats (uid, {', '.join(_RUN)}) VALUES (:uid, {', '.join(f':{name}' for name in _RUN)})"
    f" ON CONFLICT (uid) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _RUN)}"
)


def promise(
    connection: Connection,
    session: int,
    version: Version,
    *,
    finished: datetime,
    statistics: BackupStatistics,
    manifest: bytes,
    digest: bytes,
    attributes: Attributes,
) -> None:
    """See `MetaStore.promise_version`."""
    writer = require_writer(connection, session, version)
    values = {"digest": digest, "finished": instant_text(finished), "attributes": attribute_text(attributes)}
    connection.execute(_PROMISE, values | {"id": writer})
    connection.execute(_CONTENT, {"id": writer, "manifest": manifest})
    record_statistics(connection, version, finished, statistics)
    raise_generation(connection)


def promises(connection: Connection) -> list[Promise]:
    """See `MetaStore.promises`."""
    found: list[Promise] = []
    promised = "WHERE v.state = 'writing' AND v.session IS NULL AND v.manifest IS NOT NULL"
    for version, row in read_versions(connection, promised):
        content = connection.execute(
            text("SELECT manifest FROM promises WHERE version = :id"), {"id": row.id}
        ).scalar_one()
        found.append(Promise(version, bytes(content)))
    return found


def finish(connection: Connection, session: int, uid: str, bounds: Sequence[tuple[int, int]]) -> Version:
    """See `MetaStore.finish_version`."""
    version, row = read_version(connection, uid)
    if version.state.is_finished:
        return version
    if version.state is VersionState.REMOVING:
        raise NotFound(f"{named(version)} is being removed and cannot be finished")
    if row.manifest is None:
        raise InternalError(f"{named(version)} was not promised; it cannot be finished")
    if row.session is not None and row.session != session:
        raise VersionBusy(f"{named(version)} is being finished by the run that wrote it (session {row.session})")
    state = VersionState.INVALID if bad_indexes(connection, version, bounds) else VersionState.VALID
    connection.execute(_FINISH, {"state": state.value, "id": row.id})
    connection.execute(text("DELETE FROM pins WHERE writer = :id"), {"id": row.id})
    connection.execute(text("DELETE FROM promises WHERE version = :id"), {"id": row.id})
    return read_version(connection, uid)[0]


def record_statistics(
    connection: Connection, version: Version, finished: datetime, statistics: BackupStatistics
) -> None:
    """Record what the run that wrote a version did."""
    values = {name: getattr(statistics, name) for name in STATISTICS}
    values |= {"uid": version.uid, "volume": version.volume, "size": version.size}
    connection.execute(
        _STATISTICS, values | {"created": instant_text(version.created), "finished": instant_text(finished)}
    )
