"""Scrubs versions: reads every chunk they use back from the store, once, and records what is damaged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from backy_core.chunks import ChunkDamaged
from backy_core.contracts.meta import MOST_VIEWED
from backy_core.engine import Engine
from backy_core.errors import NotFound
from backy_core.extents import extents_of_blocks
from backy_core.model import Chunk, Damage, Version
from backy_core.pipeline import Meter, Workers, buffer_count
from backy_core.reports import ProgressCallback, ScrubReport, ignore_progress

__all__ = ["scrub"]


def scrub(
    engine: Engine,
    session: int,
    versions: Sequence[Version],
    *,
    progress: ProgressCallback = ignore_progress,
) -> ScrubReport:
    """Read and check every chunk of the versions; a chunk that several use is read once.

    Versions using a damaged chunk become invalid, those whose damaged chunks all read back whole become valid again.
    A version removed meanwhile is left out. Raises `StoreError` when the store cannot be reached; what was found until
    then is recorded.
    """
    return _Scrub(engine, session, progress).work(versions)


class _Scrub:
    """One scrub's memory: which chunks were read, and what was found."""

    def __init__(self, engine: Engine, session: int, progress: ProgressCallback) -> None:
        self._engine = engine
        self._session = session
        self._progress = progress
        self._reader = engine.reader()
        self._seen = _ChunkSet()
        self._damaged: dict[int, ChunkDamaged] = {}
        self._recorded: set[int] = set()
        self._healthy_again: list[Chunk] = []
        self._chunks = self._read_bytes = self._stored_bytes = 0

    def work(self, versions: Sequence[Version]) -> ScrubReport:
        started = time.monotonic()
        meter = Meter("scrub", sum(version.size for version in versions), self._progress)
        done: list[Version] = []
        damage: list[Damage] = []
        changed: dict[str, Version] = {}
        block_size = self._engine.facts.block_size
        ahead = max(2, min(2 * self._engine.workers, buffer_count(self._engine.memory, block_size) // 2))
        with Workers(self._engine.workers) as workers:
            for candidate in versions:
                try:
                    version = self._engine.meta.pin(self._session, candidate.uid)
                except NotFound:
                    continue
                try:
                    for chunk, length, found in workers.ordered(self._check, self._unread(version, meter), ahead):
                        self._take_in(chunk, length, found)
                        meter.count(stored_bytes=chunk.stored_size)
                        meter.show()
                finally:
                    changed.update((other.uid, other) for other in self._record())
                if self._damaged:
                    damage.extend(self._describe(version, self._holders(version)))
                done.append(version)
                # Not longer than needed: a scrub of everything takes hours, and somebody may want to remove this one.
                self._engine.meta.unpin(self._session, version.uid)
        meter.end()
        changed.update((other.uid, other) for other in self._engine.meta.refresh_states(self._session))
        finished = {version.uid: version for version in self._engine.meta.versions()}
        now = [finished.get(uid, version) for uid, version in changed.items()]
        return ScrubReport(
            versions=tuple(finished.get(version.uid, version) for version in done),
            chunks=self._chunks,
            read_bytes=self._read_bytes,
            stored_bytes=self._stored_bytes,
            damage=tuple(damage),
            invalidated=tuple(version for version in now if version.state == "invalid"),
            revalidated=tuple(version for version in now if version.state == "valid"),
            duration_seconds=round(time.monotonic() - started, 3),
        )

    def _unread(self, version: Version, meter: Meter) -> Iterator[tuple[Chunk, int]]:
        """The version's chunks that were not read yet, with their lengths."""
        for start in range(0, version.block_count, MOST_VIEWED):
            window = range(start, min(start + MOST_VIEWED, version.block_count))
            current = self._engine.meta.view(version, window)
            for index in window:
                block = current.get(index)
                meter.count(done=version.block_length(index))
                if block is not None and block.chunk is not None and self._seen.add(block.chunk.id):
                    yield block.chunk, version.block_length(index)

    def _check(self, what: tuple[Chunk, int]) -> tuple[Chunk, int, ChunkDamaged | None]:
        """Read one chunk. In a worker's thread."""
        chunk, length = what
        try:
            self._reader.read(chunk, length)
        except ChunkDamaged as found:
            return chunk, length, found
        return chunk, length, None

    def _take_in(self, chunk: Chunk, length: int, found: ChunkDamaged | None) -> None:
        self._chunks += 1
        self._read_bytes += length
        self._stored_bytes += chunk.stored_size
        if found is not None:
            self._damaged[chunk.id] = found
        elif chunk.bad:
            self._healthy_again.append(chunk)

    def _record(self) -> list[Version]:
        """Write what was found since the last time into the metadata store; the versions it changed."""
        meta = self._engine.meta
        fresh = [found.chunk for id_, found in self._damaged.items() if id_ not in self._recorded]
        self._recorded.update(self._damaged)
        again, self._healthy_again = self._healthy_again, []
        changed = meta.mark_bad(self._session, fresh) if fresh else []
        return changed + (meta.mark_good(self._session, again) if again else [])

    def _holders(self, version: Version) -> dict[int, list[int]]:
        """Which blocks of the version hold which damaged chunk."""
        holders: dict[int, list[int]] = {}
        bad = self._engine.meta.bad_indexes(version)
        for start in range(0, len(bad), MOST_VIEWED):
            for index, block in self._engine.meta.view(version, bad[start : start + MOST_VIEWED]).items():
                if block.chunk is not None and block.chunk.id in self._damaged:
                    holders.setdefault(block.chunk.id, []).append(index)
        return holders

    def _describe(self, version: Version, holders: dict[int, list[int]]) -> Iterator[Damage]:
        for id_, indexes in holders.items():
            damage = self._damaged[id_].damage
            extents = tuple(extents_of_blocks(sorted(indexes), version.block_size, version.size))
            yield Damage(damage.kind, damage.key, damage.reason, version.uid, extents)


class _ChunkSet:
    """A set of chunk ids, one bit each: ids are dense, and a repository may have a thousand million."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, id_: int) -> bool:
        """Add it; True when it was not in the set before."""
        place, bit = id_ >> 3, 1 << (id_ & 7)
        if place >= len(self._bits):
            self._bits.extend(bytes(max(place + 1 - len(self._bits), len(self._bits) // 2, 4096)))
        if self._bits[place] & bit:
            return False
        self._bits[place] |= bit
        return True
