"""Scrubs versions: reads all they consist of back from the store, once, and records what is damaged."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator, Sequence

from backy_core.chunks import ChunkDamaged
from backy_core.contracts.meta import MOST_VIEWED
from backy_core.descriptions import Descriptions
from backy_core.engine import Engine
from backy_core.errors import NotFound
from backy_core.findings import MOST_LISTED, Findings, Found
from backy_core.model import Chunk, Damage, Version, VersionState
from backy_core.numbers import NumberSet
from backy_core.pipeline import Meter, Workers
from backy_core.reports import ProgressCallback, ScrubReport, ignore_progress

__all__ = ["scrub"]


def scrub(
    engine: Engine,
    session: int,
    versions: Sequence[Version],
    *,
    progress: ProgressCallback = ignore_progress,
) -> ScrubReport:
    """Read and check every chunk of the versions, and all that describes them; what several use is read once.

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
        self._seen = NumberSet()
        self._changed: dict[str, Version] = {}
        self._findings = Findings(lambda chunks: self._note(engine.meta.mark_bad(session, chunks)))
        self._healthy_again: list[Chunk] = []
        self._descriptions = Descriptions(engine, session)
        self._chunks = self._read_bytes = self._stored_bytes = 0

    def work(self, versions: Sequence[Version]) -> ScrubReport:
        started = time.monotonic()
        meta = self._engine.meta
        meter = Meter("scrub", sum(version.size for version in versions), self._progress)
        done: list[Version] = []
        damage: list[Damage] = []
        descriptions = list(self._descriptions.of_repository())
        ahead = self._engine.chunks_ahead
        with Workers(self._engine.workers) as workers:
            for candidate in versions:
                try:
                    version = meta.pin(self._session, candidate.uid)
                except NotFound:
                    continue
                try:
                    for chunk, length, found in workers.ordered(self._check, self._unread(version, meter), ahead):
                        self._take_in(chunk, length, found)
                        meter.count(stored_bytes=chunk.stored_size)
                        meter.show()
                    descriptions += self._descriptions.of_version(version)
                finally:
                    self._findings.flush()
                    self._healthy()
                if self._findings.chunks and len(damage) < MOST_LISTED:
                    damage.extend(self._findings.describe(version, self._holders(version)))
                done.append(version)
                # Not longer than needed: a scrub of everything takes hours, and somebody may want to remove this one.
                meta.unpin(self._session, version.uid)
        meter.end()
        self._note(meta.refresh_states(self._session))
        finished = {version.uid: version for version in meta.versions()}
        now = [finished.get(uid, version) for uid, version in self._changed.items()]
        return ScrubReport(
            versions=tuple(finished.get(version.uid, version) for version in done),
            chunks=self._chunks,
            read_bytes=self._read_bytes,
            stored_bytes=self._stored_bytes + self._descriptions.read_bytes,
            damage=(*damage, *descriptions),
            damaged_chunks=self._findings.chunks,
            damaged_descriptions=len({found.key for found in descriptions}),
            invalidated=tuple(version for version in now if version.state is VersionState.INVALID),
            revalidated=tuple(version for version in now if version.state is VersionState.VALID),
            duration_seconds=round(time.monotonic() - started, 3),
            warnings=self._findings.warnings,
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

    def _check(self, what: tuple[Chunk, int]) -> tuple[Chunk, int, Found | None]:
        """Read one chunk. In a worker's thread."""
        chunk, length = what
        try:
            self._reader.read(chunk, length, thorough=True)
        except ChunkDamaged as error:
            return chunk, length, Found(error)
        return chunk, length, None

    def _take_in(self, chunk: Chunk, length: int, found: Found | None) -> None:
        self._chunks += 1
        self._read_bytes += length
        self._stored_bytes += chunk.stored_size
        if found is not None:
            self._findings.add(found)
        elif chunk.bad:
            self._healthy_again.append(chunk)
            if len(self._healthy_again) >= MOST_VIEWED:
                self._healthy()

    def _healthy(self) -> None:
        """Record that chunks marked bad were read back whole."""
        chunks, self._healthy_again = self._healthy_again, []
        if chunks:
            self._note(self._engine.meta.mark_good(self._session, chunks))

    def _note(self, changed: Sequence[Version]) -> None:
        self._changed.update((version.uid, version) for version in changed)

    def _holders(self, version: Version) -> dict[int, Sequence[int]]:
        """Which blocks of the version hold which listed chunk."""
        holders: dict[int, array[int]] = {}
        bad = self._engine.meta.bad_indexes(version)
        for start in range(0, len(bad), MOST_VIEWED):
            for index, block in self._engine.meta.view(version, bad[start : start + MOST_VIEWED]).items():
                if block.chunk is not None and block.chunk in self._findings:
                    holders.setdefault(block.chunk.id, array("q")).append(index)
        return dict(holders)
