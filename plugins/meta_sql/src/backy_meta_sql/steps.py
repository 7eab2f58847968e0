"""What the parts of the metadata store share: its database, its clock, and how a step is run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import Connection

from backy_core.contracts.meta import MetaCounters, MetaStore
from backy_meta_sql import reading
from backy_meta_sql.database import Database
from backy_meta_sql.sqlite import SqliteBackend

__all__ = ["SqlSteps"]

T = TypeVar("T")


def _now() -> datetime:
    return datetime.now(UTC)


class SqlSteps(MetaStore):
    """A metadata store in an SQL database, without its steps.

    `clock` gives the instants that are recorded, and tells when the protection of a version has run out; nothing else
    depends on it.
    """

    def __init__(self, backend: SqliteBackend, clock: Callable[[], datetime] | None = None) -> None:
        self.location = backend.location
        self.counters = MetaCounters()
        self._backend = backend
        self._database = Database(backend, self.counters)
        self._clock = clock or _now
        self._chains = reading.Chains()
        self._wrote = False

    def _write(self, session: int, work: Callable[[Connection], T]) -> T:
        self._wrote = True
        return self._database.write(work, session)

    def _read(self, work: Callable[[Connection], T]) -> T:
        return self._database.read(work)
