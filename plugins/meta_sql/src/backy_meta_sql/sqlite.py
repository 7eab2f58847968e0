"""Everything that is SQLite's own: the file, its pragmas, its locks, which processes live. The rest is plain SQL."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from backy_core.errors import BackyError, InternalError, InvalidInput, MetaError, RepositoryError
from backy_meta_sql.failures import translated
from backy_meta_sql.filesystems import MOUNTINFO, refuse_network
from backy_meta_sql.liveness import Liveness
from backy_meta_sql.reserve import Reserve
from backy_meta_sql.turns import WriterTurns

__all__ = ["WRITER", "SqliteBackend", "path_of"]

WRITER = "backy_writer"
"""The execution option of a connection whose transactions write."""


_PLAIN = "/:@+,="
"""What a path keeps unquoted in a URL besides letters, digits and `_.-~`."""


def path_of(location: str) -> Path:
    """The absolute path in a `sqlite:///` URL, percent escapes resolved; `InvalidInput` for anything else."""
    rest = location.removeprefix("sqlite://")
    is_path = rest != location and rest.startswith("/") and rest.strip("/")
    if not is_path or "?" in rest or "\0" in unquote(rest):
        raise InvalidInput(f"{location!r} is no metadata URL; write sqlite:///absolute/path, without options")
    return Path(os.path.normpath("/" + os.fsdecode(unquote_to_bytes(rest)).lstrip("/")))


class SqliteBackend:
    """One SQLite database file as `Database` needs it; another database server would bring a class of the same shape.

    The lock domain is the file: all processes that use it must run on one host.
    """

    def __init__(self, path: Path, *, wait_seconds: float = 30.0, mountinfo: Path = MOUNTINFO) -> None:
        refuse_network(path, mountinfo)
        self.path = path
        self.location = f"sqlite://{quote(os.fsencode(path), safe=_PLAIN)}"
        self._wait_seconds = wait_seconds
        self._turns = WriterTurns(path, wait_seconds)
        self._liveness = Liveness(path)
        self._reserve = Reserve(path)

    def make_file(self, create: bool) -> None:
        """See to it that the file is there; without `create` an absent one raises `RepositoryError`."""
        if self.path.is_file():
            return
        if self.path.exists():
            raise RepositoryError(f"{self.path} is no database but a folder or a device; name a file")
        if not create:
            raise RepositoryError(f"there is no metadata database at {self.path}; make one with `backy init`")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise translated(error, self.path) from error

    def engine(self) -> Engine:
        """A pool of connections, each with foreign keys on and full durability."""
        engine = create_engine(
            # Parameters by name are what `execute_many` hands to the driver.
            "sqlite://",
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=8,
            max_overflow=-1,
            paramstyle="named",
        )
        event.listen(engine, "begin", _begin)
        return engine

    def make_durable(self, connection: Connection) -> None:
        """Switch our own file (never a foreign one) to write-ahead logging. Outside of any transaction."""
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        if raw.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            return
        with self._turns.turn():
            mode = raw.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise MetaError(f"the metadata database {self.path} cannot use a write-ahead log here (it stays {mode!r})")

    def translate(self, error: Exception) -> BackyError:
        """The error of backy for a driver's or the system's error."""
        original = getattr(error, "orig", None)
        return translated(original if isinstance(original, Exception) else error, self.path)

    def turn(self) -> AbstractContextManager[None]:
        """A writer's turn; held around its transaction."""
        return self._turns.turn()

    # Which processes live, and the space for a full disk: see the classes behind.

    def claim(self, session: int) -> None:
        """Hold a new session's liveness."""
        self._liveness.claim(session)

    def seize(self, session: int) -> bool:
        """Take over a session whose process is dead."""
        return self._liveness.seize(session)

    def strays(self, known: Collection[int]) -> set[int]:
        """Sessions that have a proof of life but are not among the known ones."""
        return self._liveness.claimed().difference(known)

    def let_go(self, session: int) -> None:
        """Seized, but not cleared up: leave the session to the next reaper."""
        self._liveness.let_go(session)

    def release(self, session: int) -> None:
        """A session is no more."""
        self._liveness.release(session)

    def lend_space(self) -> bool:
        """Free the little space that opening takes."""
        return self._reserve.lend()

    def spend_space(self) -> bool:
        """Free the whole reserve, for work that frees more."""
        return self._reserve.spend()

    def regain_space(self) -> None:
        """Make the reserve whole again where the disk allows it."""
        self._reserve.make()

    def close(self) -> None:
        """Let go of all liveness locks."""
        self._liveness.drop()

    def _connect(self) -> sqlite3.Connection:
        uri = f"file:{quote(str(self.path))}?mode=rw"
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, timeout=self._wait_seconds
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            found = [connection.execute(f"PRAGMA {name}").fetchone() for name in ("foreign_keys", "synchronous")]
            if found != [(1,), (2,)]:
                raise InternalError(f"this SQLite keeps no foreign keys or no durability: {found!r}")
        except BaseException:
            connection.close()
            raise
        return connection


def _begin(connection: Connection) -> None:
    # The driver begins nothing by itself (isolation_level None). A transaction that reads first and writes later would
    # fail when another writer was faster, so a writer says so from the start.
    writes = connection.get_execution_options().get(WRITER, False)
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    raw.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
