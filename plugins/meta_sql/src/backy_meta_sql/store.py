"""The metadata store itself: each method of the contract as the transactions it takes, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, text

from backy_core.contracts.meta import (
    CleanupStep,
    NewChunk,
    PublishResult,
    PurgeStep,
    Reaped,
    Usage,
    Writing,
)
from backy_core.errors import OutOfSpace, RepositoryError, VersionBusy
from backy_core.model import Chunk, MappedBlock, RepositoryFacts, Version
from backy_meta_sql import SqlSettings, cleanup, damage, lineages, reading, removal, sessions, writing
from backy_meta_sql.database import URGENT_COMMANDS
from backy_meta_sql.description import DescriptionSteps
from backy_meta_sql.filesystems import MOUNTINFO
from backy_meta_sql.migrating import MIGRATIONS, bring_up, recorded_revision
from backy_meta_sql.revisions import HEAD
from backy_meta_sql.rows import instant_text, read_version, read_versions, slices, to_chunk
from backy_meta_sql.sqlite import SqliteBackend, path_of
from backy_meta_sql.takeover import TakeoverSteps

__all__ = ["SqlMetaStore", "open_sqlite"]

_REAP_BATCH = 128
_WINDOW = 4096
_KEY_BATCH = 1000


def open_sqlite(
    location: str, settings: SqlSettings, create: bool, *, mountinfo: Path = MOUNTINFO, scripts: Path = MIGRATIONS
) -> SqlMetaStore:
    """Open the database that a `sqlite:///` URL names; errors as in `backy_meta_sql.open_meta`."""
    path = path_of(location)
    backend = SqliteBackend(path, wait_seconds=settings.wait_seconds, mountinfo=mountinfo)
    backend.make_file(create)
    store = SqlMetaStore(backend)
    try:
        try:
            store.bring_up(create, scripts)
        except OutOfSpace:
            # On a full disk SQLite cannot even read: its shared memory is a file.
            if not backend.lend_space():
                raise
            store.bring_up(create, scripts)
    except BaseException:
        store.abandon()
        raise
    return store


class SqlMetaStore(DescriptionSteps, TakeoverSteps):
    """A metadata store in an SQL database, with all its steps."""

    def __init__(self, backend: SqliteBackend, clock: Callable[[], datetime] | None = None) -> None:
        super().__init__(backend, clock)
        self._cursors: dict[tuple[str, int], removal.Cursor] = {}

    # -- the repository ------------------------------------------------------------------------------------------

    def bring_up(self, create: bool, scripts: Path = MIGRATIONS) -> None:
        """See to it that the schema is this release's. An up-to-date one is only looked at."""
        place = str(self._backend.path)
        with self._database.connection() as connection, connection.begin():
            recorded = recorded_revision(connection, place)
        if recorded is None and not create:
            raise RepositoryError(f"{place} holds no repository; make one with `backy init`")
        if recorded == HEAD:
            return
        self._database.write(lambda c: bring_up(c, place, scripts, HEAD), fenced=False)
        with self._database.connection() as connection:
            self._backend.make_durable(connection)
        self._backend.regain_space()

    def abandon(self) -> None:
        """Close without the good-bye of `close`: the database could not be opened."""
        self._database.close()

    def initialise(self, facts: RepositoryFacts) -> None:
        def work(connection: Connection) -> None:
            if connection.execute(text("SELECT count(*) FROM repository")).scalar_one():
                raise RepositoryError(f"{self.location} holds a repository already; name another database")
            connection.execute(
                text(
                    "INSERT INTO repository (id, repository_id, format, hash_name, block_size, created, generation,"
                    " encryption)"
                    " VALUES (1, :repository_id, :format, :hash_name, :block_size, :created, 0, :encryption)"
                ),
                {
                    "repository_id": facts.repository_id,
                    "format": facts.format,
                    "hash_name": facts.hash_name,
                    "block_size": facts.block_size,
                    "created": instant_text(facts.created),
                    "encryption": facts.encryption,
                },
            )

        self._database.write(work)

    def facts(self) -> RepositoryFacts:
        row = self._database.read(lambda c: c.execute(text("SELECT * FROM repository")).one_or_none())
        if row is None:
            raise self._uninitialised()
        created = datetime.fromisoformat(row.created)
        return RepositoryFacts(row.repository_id, row.format, row.hash_name, row.block_size, created, row.encryption)

    def generation(self) -> int:
        found = self._database.read(lambda c: c.execute(text("SELECT generation FROM repository")).scalar_one_or_none())
        if found is None:
            raise self._uninitialised()
        return int(found)

    def usage(self) -> Usage:
        return self._database.read(cleanup.usage)

    # -- sessions ------------------------------------------------------------------------------------------------

    def open_session(self, command: str) -> int:
        self._wrote = True
        urgent = command in URGENT_COMMANDS
        self._reap(urgent)
        claimed: list[int] = []

        def work(connection: Connection) -> int:
            session = sessions.open_session(connection, command, self._clock())
            # Before anybody else can see the row: without its lock it would be taken for dead.
            claimed.append(session)
            self._backend.claim(session)
            return session

        try:
            session = self._database.write(work, urgent=urgent)
        except BaseException:
            for number in claimed:
                self._backend.release(number)
            raise
        self._database.remember(session, command)
        return session

    def close_session(self, session: int) -> None:
        self._database.write(lambda c: sessions.clear_up(c, [session]), urgent=True)
        self._database.forget(session)
        self._backend.release(session)

    def reap(self) -> Reaped:
        return self._reap(False)

    def _reap(self, urgent: bool) -> Reaped:
        ours = self._database.sessions
        known = self._database.read(sessions.all_sessions)
        found = [s for s in known if s not in ours and self._backend.seize(s)]
        total = Reaped()
        try:
            for some in slices(found, _REAP_BATCH):
                done = self._database.write(partial(sessions.clear_up, sessions=some), urgent=urgent)
                total = Reaped(
                    total.sessions + done.sessions, total.uploads + done.uploads, total.interrupted + done.interrupted
                )
                for session in some:
                    self._backend.release(session)
        finally:
            for session in found:
                self._backend.let_go(session)
        if self._backend.strays(known):
            self._database.write(self._sweep, urgent=urgent)
        return total

    def _sweep(self, connection: Connection) -> None:
        # Left by a process that was killed between claiming a session and its row, or between losing the row and this.
        # A claim is only made in a writer's turn, so here none is half made.
        for session in self._backend.strays(sessions.all_sessions(connection)):
            if self._backend.seize(session):
                self._backend.release(session)

    # -- writing a version ---------------------------------------------------------------------------------------

    def begin_version(
        self,
        session: int,
        *,
        volume: str,
        size: int,
        block_size: int,
        source: str,
        identity: str | None,
        base_uid: str | None,
        created: datetime,
    ) -> Writing:
        request = lineages.Request(volume, size, block_size, source, identity, base_uid, created)
        begun = lineages.Begun(None, False, ())
        while begun.uid is None:
            begun = self._write(session, lambda c: lineages.begin(c, session, request, self._chains))
            for leftover in begun.leftovers:
                while not self.purge(session, leftover).done:
                    pass
        uid = begun.uid
        prepared = False
        while not prepared:
            prepared, rows = self._write(session, lambda c: lineages.prepare(c, session, uid, self._chains))
            self.counters.map_rows_written += rows

        def read(connection: Connection) -> Writing:
            version, row = read_version(connection, uid)
            base = None if version.base_uid is None else read_version(connection, version.base_uid)[0]
            return Writing(version, base, begun.continued, row.position)

        return self._database.read(read)

    def view(self, version: Version, indexes: range | Sequence[int]) -> dict[int, MappedBlock]:
        return self._database.read(
            lambda c: reading.view(c, version, self._chains.bounds(c, version), indexes),
        )

    def own_indexes(self, version: Version) -> Iterator[int]:
        after = -1
        while True:
            window = self._database.read(partial(reading.own_indexes, version=version, after=after, window=_WINDOW))
            yield from window
            if len(window) < _WINDOW:
                return
            after = window[-1]

    def bad_indexes(self, version: Version) -> list[int]:
        return self._database.read(lambda c: reading.bad_indexes(c, version, self._chains.bounds(c, version)))

    def plan(self, session: int, version: Version, blocks: Sequence[tuple[int, bytes | None]]) -> dict[bytes, bytes]:
        missing, rows = self._write(session, lambda c: writing.plan(c, session, version, blocks))
        self.counters.map_rows_written += rows
        return missing

    def publish(
        self,
        session: int,
        version: Version,
        chunks: Sequence[NewChunk],
        blocks: Sequence[tuple[int, bytes]],
        position: int = 0,
    ) -> PublishResult:
        result, rows = self._write(session, lambda c: writing.publish(c, session, version, chunks, blocks, position))
        self.counters.map_rows_written += rows
        return result

    # -- finding versions ----------------------------------------------------------------------------------------

    def versions(self, volume: str | None = None) -> list[Version]:
        def work(connection: Connection) -> list[Version]:
            if volume is None:
                found = read_versions(connection)
            else:
                found = read_versions(connection, "WHERE v.volume = :volume", volume=volume)
            return [version for version, _ in found]

        return self._database.read(work)

    def find_uid(self, prefix: str) -> list[Version]:
        low, high = prefix.lower(), prefix.lower() + "\x7f"
        where = "WHERE v.id IN (SELECT id FROM versions WHERE uid >= :low AND uid < :high ORDER BY id LIMIT 10)"
        found = self._database.read(lambda c: read_versions(c, where, low=low, high=high))
        return [version for version, _ in found]

    # -- reading a version ---------------------------------------------------------------------------------------

    def pin(self, session: int, uid: str) -> Version:
        return self._write(session, lambda c: removal.pin(c, session, uid))

    def unpin(self, session: int, uid: str) -> None:
        self._write(session, lambda c: removal.unpin(c, session, uid))

    def chunk(self, digest: bytes) -> Chunk | None:
        statement = text("SELECT id AS chunk, digest, nonce, stored_size, bad FROM chunks WHERE digest = :digest")
        row = self._database.read(lambda c: c.execute(statement, {"digest": digest}).one_or_none())
        return None if row is None else to_chunk(row)

    def mark_bad(self, session: int, chunks: Sequence[Chunk]) -> list[Version]:
        return self._write(session, lambda c: damage.mark(c, chunks, bad=True))

    def mark_good(self, session: int, chunks: Sequence[Chunk]) -> list[Version]:
        return self._write(session, lambda c: damage.mark(c, chunks, bad=False))

    def refresh_states(self, session: int) -> list[Version]:
        return self._write(session, damage.refresh)

    # -- removing ------------------------------------------------------------------------------------------------

    def remove_version(self, session: int, uid: str) -> Version:
        try:
            return self._write(session, lambda c: removal.remove(c, session, uid, self._clock()))
        except VersionBusy:
            # Its holder may have died since this session looked.
            if not self._reap(self._database.is_urgent(session)).sessions:
                raise
        return self._write(session, lambda c: removal.remove(c, session, uid, self._clock()))

    def purge(self, session: int, uid: str, limit: int = 512) -> PurgeStep:
        step, cursors = self._write(session, lambda c: removal.purge(c, uid, limit, self._cursors))
        if step.done:
            for key in [key for key in self._cursors if key[0] == uid]:
                self._cursors.pop(key, None)
        else:
            self._cursors.update(cursors)
        return step

    # -- cleanup -------------------------------------------------------------------------------------------------

    def doom_chunks(self, session: int, limit: int = 128) -> CleanupStep:
        return self._write(session, lambda c: cleanup.doom_chunks(c, limit))

    def doom_keys(self, session: int, keys: Sequence[str]) -> None:
        for some in slices(keys, _KEY_BATCH):
            self._write(session, partial(cleanup.doom_keys, keys=some))

    def doomed_keys(self, before_generation: int, limit: int = 1000) -> list[str]:
        return self._database.read(lambda c: cleanup.doomed_keys(c, before_generation, limit))

    def forget_doomed(self, session: int, keys: Sequence[str]) -> None:
        for some in slices(keys, _KEY_BATCH):
            self._write(session, partial(cleanup.forget_doomed, keys=some))

    # -- life ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self._database.close()
        self._backend.close()
        if self._wrote:
            self._backend.regain_space()

    def _uninitialised(self) -> RepositoryError:
        return RepositoryError(f"{self.location} holds no repository; make one with `backy init`")
