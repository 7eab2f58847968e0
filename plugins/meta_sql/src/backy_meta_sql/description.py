"""The steps about what the store is to say of versions: fences, segments, manifests, attributes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Connection

from backy_core.contracts.meta import Fence, PendingAttributes, Promise
from backy_core.model import NO_ATTRIBUTES, Attributes, BackupStatistics, Segment, Version
from backy_meta_sql import attributes as attributing
from backy_meta_sql import entries, fences, promising
from backy_meta_sql import segments as listing
from backy_meta_sql.steps import SqlSteps

__all__ = ["DescriptionSteps"]


class DescriptionSteps(SqlSteps):
    """See `MetaStore`: each step is one transaction, `entries` one for each window."""

    def fences(self) -> list[Fence]:
        return self._read(fences.fences)

    def fences_stored(self, session: int, generations: Sequence[int]) -> None:
        self._write(session, lambda c: fences.fences_stored(c, generations))

    def next_generation(self, session: int, at_least: int = 0) -> int:
        return self._write(session, lambda c: fences.raise_generation(c, at_least))

    def segments(self, version: Version) -> list[Segment]:
        return self._read(lambda c: listing.list_segments(c, version.uid))

    def count_entries(self, version: Version, since: tuple[int, int] | None) -> int:
        def work(connection: Connection) -> int:
            bounds = self._chains.bounds(connection, version)
            return entries.count(connection, entries.stretches(version, bounds, since))

        return self._read(work)

    def entries(self, version: Version, since: tuple[int, int] | None) -> Iterator[tuple[int, bytes | None]]:
        bounds = self._read(lambda c: self._chains.bounds(c, version))
        return entries.entries(self._database, version, bounds, since)

    def link_segments(self, session: int, version: Version, segments: Sequence[Segment]) -> None:
        self._write(session, lambda c: listing.link(c, session, version, segments))

    def plan_pieces(self, session: int, version: Version, digests: Sequence[bytes]) -> list[bytes]:
        return self._write(session, lambda c: listing.plan_pieces(c, session, version, digests))

    def publish_segment(self, session: int, version: Version, segment: Segment) -> Segment:
        return self._write(session, lambda c: listing.publish(c, session, version, segment))

    def mark_segment_bad(self, session: int, segment: Segment) -> None:
        self._write(session, lambda c: listing.mark_bad(c, segment))

    def promise_version(
        self,
        session: int,
        version: Version,
        *,
        finished: datetime,
        statistics: BackupStatistics,
        manifest: bytes,
        digest: bytes,
        attributes: Attributes = NO_ATTRIBUTES,
    ) -> None:
        def work(connection: Connection) -> None:
            promising.promise(
                connection,
                session,
                version,
                finished=finished,
                statistics=statistics,
                manifest=manifest,
                digest=digest,
                attributes=attributes,
            )

        self._write(session, work)

    def promises(self) -> list[Promise]:
        return self._read(promising.promises)

    def finish_version(self, session: int, version: Version) -> Version:
        def work(connection: Connection) -> Version:
            bounds = self._chains.bounds(connection, version)
            return promising.finish(connection, session, version.uid, bounds)

        return self._write(session, work)

    def set_attributes(self, session: int, uid: str, attributes: Attributes) -> int:
        return self._write(session, lambda c: attributing.set_attributes(c, uid, attributes))

    def pending_attributes(self) -> list[PendingAttributes]:
        return self._read(attributing.pending)

    def attributes_stored(self, session: int, uid: str, serial: int) -> None:
        self._write(session, lambda c: attributing.stored(c, uid, serial))

    def keys_of(self, uid: str) -> list[str]:
        return self._read(lambda c: attributing.keys_of(c, uid))
