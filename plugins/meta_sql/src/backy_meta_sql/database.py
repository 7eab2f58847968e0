"""Runs transactions: short, fenced, counted, with errors translated and one more try on a full disk."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeVar

from sqlalchemy import Connection, event, text
from sqlalchemy.exc import SQLAlchemyError

from backy_core.contracts.meta import MetaCounters
from backy_core.errors import OutOfSpace, RepositoryError, SessionFenced
from backy_meta_sql.revisions import HEAD
from backy_meta_sql.shelter import Shelter
from backy_meta_sql.sqlite import WRITER, SqliteBackend

__all__ = ["URGENT_COMMANDS", "Database"]

T = TypeVar("T")

URGENT_COMMANDS = frozenset({"rm", "cleanup"})
"""Commands that free space, and may therefore spend the space kept aside."""

_FENCE = text(
    "SELECT revision.version_num, (SELECT s.id FROM sessions s WHERE s.id = :session) FROM backy_schema revision"
)


class Database:
    """Transactions on one database. Several threads may use it at once."""

    def __init__(self, backend: SqliteBackend, counters: MetaCounters) -> None:
        self.backend = backend
        self.counters = counters
        self._engine = backend.engine()
        self._guard = threading.Lock()
        self._commands: dict[int, str] = {}
        self._shelter = Shelter()
        event.listen(self._engine, "before_cursor_execute", self._count_statement)

    @property
    def sessions(self) -> frozenset[int]:
        """The sessions that this object itself has open."""
        with self._guard:
            return frozenset(self._commands)

    def is_urgent(self, session: int) -> bool:
        """Whether this session of our own runs a command that frees space."""
        with self._guard:
            return self._commands.get(session) in URGENT_COMMANDS

    def remember(self, session: int, command: str) -> None:
        """A session of our own, and its command."""
        with self._guard:
            self._commands[session] = command

    def forget(self, session: int) -> None:
        """A session of our own is over."""
        with self._guard:
            self._commands.pop(session, None)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A bare connection, for what must happen outside of transactions; errors are translated."""
        with self._translating(), self._engine.connect() as connection:
            yield connection

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, from one unchanging view of the database."""
        with self._translating(), self._engine.connect() as connection, connection.begin():
            result = work(connection)
        with self._guard:
            self.counters.transactions += 1
        return result

    def write(
        self, work: Callable[[Connection], T], session: int | None = None, *, urgent: bool = False, fenced: bool = True
    ) -> T:
        """What `work` returns; all it did is durable by then, or nothing of it was done.

        `session`: refuse when it is no longer open. `urgent`, or a session whose command frees space: on a full disk
        the space kept aside is spent and `work` called once more. `fenced`: refuse when a newer backy changed the
        schema.
        """
        try:
            return self._shelter.run(lambda: self._write_once(work, session, fenced))
        except OutOfSpace:
            may_spend = urgent or (session is not None and self.is_urgent(session))
            if not may_spend or not self.backend.spend_space():
                raise
        return self._shelter.run(lambda: self._write_once(work, session, fenced))

    def close(self) -> None:
        """Close every connection."""
        self._shelter.close()
        self._engine.dispose()

    def _write_once(self, work: Callable[[Connection], T], session: int | None, fenced: bool) -> T:
        asked = monotonic()
        with self._translating(), self.backend.turn(), self._engine.connect() as plain:
            connection = plain.execution_options(**{WRITER: True})
            with connection.begin():
                begun = monotonic()
                if fenced:
                    _check_fence(connection, session)
                result = work(connection)
            ended = monotonic()
        with self._guard:
            self.counters.transactions += 1
            self.counters.longest_wait = max(self.counters.longest_wait, begun - asked)
            self.counters.longest_held = max(self.counters.longest_held, ended - begun)
        return result

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise self.backend.translate(error) from error

    def _count_statement(self, *_: Any) -> None:
        with self._guard:
            self.counters.statements += 1


def _check_fence(connection: Connection, session: int | None) -> None:
    revision, found = connection.execute(_FENCE, {"session": session}).one()
    if revision != HEAD:
        raise RepositoryError(
            f"the metadata database was brought to schema {revision} while this backy, which knows {HEAD}, was "
            f"running; run the newer backy"
        )
    if session is not None and found is None:
        raise SessionFenced(
            f"this run (session {session}) was taken for dead and cleared up after; start it again, nothing is lost"
        )
