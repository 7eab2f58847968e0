"""The steps by which versions are taken over from the store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection, text

from backy_core.contracts.meta import Found, NewChunk
from backy_core.model import Attributes, Chunk, Segment, Version
from backy_meta_sql import attributes as attributing
from backy_meta_sql import found, placing, taking
from backy_meta_sql.rows import slices
from backy_meta_sql.steps import SqlSteps

__all__ = ["TakeoverSteps"]

_KEY_BATCH = 1000


class TakeoverSteps(SqlSteps):
    """See `MetaTakeover`: each step is one transaction; `place_version` has one more for each batch of rows it clears.

    A place that another version took meanwhile raises `VersionBusy`; the version is to be placed again then.
    """

    def set_behind(self, session: int, behind: bool) -> None:
        self._write(
            session, lambda c: c.execute(text("UPDATE repository SET behind = :behind"), {"behind": int(behind)})
        )

    def is_behind(self) -> bool:
        return bool(self._read(lambda c: c.execute(text("SELECT behind FROM repository")).scalar_one_or_none()))

    def place_version(self, session: int, version: Version) -> Version:
        placed = self._write(session, lambda c: placing.claim(c, session, version))
        self._chains.forget(placed.lineage)
        while not self._write(session, lambda c: placing.clear(c, session, placed)):
            pass
        return placed

    def take_rows(self, session: int, version: Version, rows: Sequence[tuple[int, bytes | None]]) -> int:
        def work(connection: Connection) -> int:
            return taking.take_rows(connection, session, version, self._chains.bounds(connection, version), rows)

        written = self._write(session, work)
        self.counters.map_rows_written += written
        return written

    def take_version(self, session: int, version: Version, segments: Sequence[Segment], serial: int) -> Version:
        return self._write(session, lambda c: taking.take_version(c, session, version, segments, serial))

    def take_attributes(self, session: int, uid: str, attributes: Attributes, serial: int) -> None:
        self._write(session, lambda c: attributing.take(c, uid, attributes, serial))

    def take_found(self, session: int, objects: Sequence[NewChunk]) -> Found:
        return self._write(session, lambda c: found.take_found(c, objects))

    def move_chunk(self, session: int, chunk: NewChunk) -> None:
        self._write(session, lambda c: found.move(c, chunk))

    def chunks(self, after: int, limit: int = 1024) -> list[Chunk]:
        return self._read(lambda c: found.chunks(c, after, limit))

    def find_chunks(self, digests: Sequence[bytes]) -> dict[bytes, Chunk]:
        return self._read(lambda c: found.find_chunks(c, digests))

    def doom_orphans(self, session: int, keys: Sequence[str]) -> int:
        return sum(self._write(session, partial(found.doom_orphans, keys=some)) for some in slices(keys, _KEY_BATCH))
