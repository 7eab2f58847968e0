"""Backs up a source: reads what may have changed, stores what is new, and makes it a version of a volume."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeAlias

from backy_core.candidates import Candidate, every_block, hinted_blocks, sample_of_unhinted
from backy_core.commit import commit_version
from backy_core.contracts.meta import MOST_PLANNED, NewChunk, Writing
from backy_core.contracts.source import Source
from backy_core.engine import Engine
from backy_core.errors import InvalidHints
from backy_core.extents import BlockRanges
from backy_core.model import NO_ATTRIBUTES, Attributes, BackupStatistics, VersionState, chunk_key
from backy_core.pipeline import Buffers, Meter, Workers, buffer_count
from backy_core.publisher import Publisher
from backy_core.purging import purge_rows
from backy_core.reports import BackupReport, ProgressCallback, ignore_progress

__all__ = ["backup"]

_Looked: TypeAlias = tuple[Candidate, bytes | None, bytearray | None]
"""A candidate that was looked at, the digest of its content (None: all zeros), and the buffer that holds it."""


def backup(
    engine: Engine,
    session: int,
    source: Source,
    volume: str,
    *,
    created: datetime,
    hints: BlockRanges | None = None,
    base_uid: str | None = None,
    attributes: Attributes = NO_ATTRIBUTES,
    progress: ProgressCallback = ignore_progress,
) -> BackupReport:
    """Write a version of `volume` from `source` and return when it is durable and valid.

    With `hints`, only the blocks they touch are read, and a sample of the others is compared with the base: raises
    `InvalidHints`, keeping nothing, when one differs. An error leaves the version interrupted; the next backup of the
    volume takes it up.
    """
    started = time.monotonic()
    writing = engine.meta.begin_version(
        session,
        volume=volume,
        size=source.size,
        block_size=engine.facts.block_size,
        source=source.location,
        identity=source.identity,
        base_uid=base_uid,
        created=created,
    )
    if hints is None:
        candidates = every_block(engine.meta, writing, source)
        total = writing.version.size
    else:
        _check_hints(engine, session, writing, source, hints)
        candidates = hinted_blocks(engine.meta, writing, hints)
        total = min(len(hints) * writing.version.block_size, writing.version.size)
    meter = Meter("read", total, progress)
    run = _Run(engine, session, source, writing, meter, whole=hints is None)
    statistics = run.work(candidates)
    meter.end()
    statistics = replace(statistics, duration_seconds=round(time.monotonic() - started, 3))
    version = commit_version(engine, session, writing, statistics, attributes)
    warnings = []
    if writing.continued:
        warnings.append(f"an interrupted backup of {volume} was continued; what it had stored was not stored again")
    # Always: an interrupted run may have healed chunks and not come to this.
    healed = [other for other in engine.meta.refresh_states(session) if other.state is VersionState.VALID]
    if statistics.healed_chunks or healed:
        names = "".join(f", {other.volume} {other.uid} is valid again" for other in healed)
        warnings.append(f"{statistics.healed_chunks} damaged chunks were stored anew{names}")
    if version.state is not VersionState.VALID:
        warnings.append(f"{version.uid} uses chunks that were found damaged meanwhile; back {volume} up again")
    return BackupReport(version, statistics, engine.store.location, writing.continued, tuple(warnings))


def _check_hints(engine: Engine, session: int, writing: Writing, source: Source, hints: BlockRanges) -> None:
    """Compare a sample of unhinted blocks with the base; on the first that differs remove the version and raise."""
    for candidate in sample_of_unhinted(engine.meta, writing, hints):
        length = writing.version.block_length(candidate.index)
        data = bytearray(length)
        source.read_into(candidate.index * writing.version.block_size, memoryview(data))
        held = candidate.current.chunk if candidate.current is not None else None
        same = data == bytes(length) if held is None else engine.hash.digest(data) == held.digest
        if not same:
            engine.meta.remove_version(session, writing.version.uid)
            purge_rows(engine.meta, session, writing.version.uid, ignore_progress)
            base = f"version {writing.base.uid}" if writing.base else "an empty volume"
            raise InvalidHints(
                f"the hints are wrong: block {candidate.index} of {source.location} differs from {base} although no "
                "hint says so; back up without --hints, or name the version they were made for with --base"
            )


class _Run:
    """One backup's pipeline: read and hash in threads, look up in order, compress and put in threads, publish."""

    def __init__(
        self, engine: Engine, session: int, source: Source, writing: Writing, meter: Meter, *, whole: bool
    ) -> None:
        self._engine = engine
        self._session = session
        self._source = source
        self._version = writing.version
        self._meter = meter
        self._whole = whole
        count = buffer_count(engine.memory, self._version.block_size)
        length = min(self._version.block_size, self._version.size)
        self._buffers = Buffers(count, length)
        self._zeros = bytes(length)
        self._group_size = max(1, min(MOST_PLANNED, count // 3))
        self._read_bytes = 0
        self._read_blocks = 0
        self._changed = 0
        self._holes = 0
        self._deduplicated = 0
        self._new_bytes = 0

    def work(self, candidates: Iterator[Candidate]) -> BackupStatistics:
        """Look at every candidate, publish what is new, and say what was done."""
        with (
            Workers(self._engine.workers) as workers,
            Publisher(self._engine.meta, self._engine.store, self._session, self._version) as publisher,
        ):
            group: list[_Looked] = []
            for looked_at in self._read_in_order(candidates, workers, publisher):
                if looked_at is not None:
                    group.append(looked_at)
                    if len(group) < self._group_size:
                        continue
                if group:
                    self._take_up(group, workers, publisher)
                    group = []
                    self._meter.show()
            if group:
                self._take_up(group, workers, publisher)
            published = publisher.finish()
        return BackupStatistics(
            read_bytes=self._read_bytes,
            read_blocks=self._read_blocks,
            changed_blocks=self._changed,
            new_chunks=published.new,
            new_bytes=self._new_bytes,
            stored_bytes=self._meter.stored_bytes,
            deduplicated_blocks=self._deduplicated,
            hole_blocks=self._holes,
            healed_chunks=published.healed,
        )

    def _read_in_order(
        self, candidates: Iterator[Candidate], workers: Workers, publisher: Publisher
    ) -> Iterator[_Looked | None]:
        """Each candidate with its digest (None for a hole) and its buffer; None when the buffers have run out, so
        that the caller works off what it has gathered."""
        reading: deque[tuple[Candidate, Future[bytes | None] | None, bytearray | None]] = deque()
        candidate = next(candidates, None)
        while candidate is not None or reading:
            while candidate is not None and len(reading) < 2 * self._group_size:
                future = buffer = None
                if candidate.read:
                    buffer = self._buffers.take()
                    if buffer is None:
                        break
                    future = workers.submit(partial(self._look, candidate.index, buffer))
                reading.append((candidate, future, buffer))
                candidate = next(candidates, None)
            if not reading:
                yield None
                publisher.check()
                self._buffers.wait()
                continue
            first, future, buffer = reading.popleft()
            yield first, future.result() if future is not None else None, buffer

    def _look(self, index: int, buffer: bytearray) -> bytes | None:
        """Read a block into the buffer; its digest, or None when it is all zeros. In a worker's thread."""
        view = memoryview(buffer)[: self._version.block_length(index)]
        self._source.read_into(index * self._version.block_size, view)
        # Comparing a whole bytearray compares memory, and stops at the first byte that differs.
        same_length = len(view) == len(buffer)
        if (buffer == self._zeros) if same_length else (bytes(view) == bytes(len(view))):
            return None
        return self._engine.hash.digest(view)

    def _take_up(self, group: list[_Looked], workers: Workers, publisher: Publisher) -> None:
        """Sort out a group: unchanged blocks, known content, content that is just being stored, new content."""
        changed: list[_Looked] = []
        for candidate, digest, buffer in group:
            if candidate.read:
                self._read_blocks += 1
                self._read_bytes += self._version.block_length(candidate.index)
            held = candidate.current.chunk if candidate.current is not None else None
            if digest is None:
                self._holes += 1
                if held is not None:
                    changed.append((candidate, None, None))
            elif held is None or held.bad or held.digest != digest:
                if publisher.is_storing(digest):
                    publisher.map(candidate.index, digest)
                    self._changed += 1
                    self._deduplicated += 1
                else:
                    changed.append((candidate, digest, buffer))
                    continue
            if buffer is not None:
                self._buffers.give_back(buffer)
        if changed:
            self._store(changed, workers, publisher)
        last = group[-1][0].index
        if self._whole:
            # With hints, most blocks below this one were not looked at: another run must not skip them.
            publisher.dealt_with(last + 1)
            self._meter.reach(min((last + 1) * self._version.block_size, self._version.size))
        else:
            self._meter.reach(self._read_bytes)
        publisher.publish_when_due()

    def _store(self, changed: list[_Looked], workers: Workers, publisher: Publisher) -> None:
        self._changed += len(changed)
        blocks = [(candidate.index, digest) for candidate, digest, _ in changed]
        nonces = self._engine.meta.plan(self._session, self._version, blocks)
        for candidate, digest, buffer in changed:
            if digest is None or buffer is None:
                continue
            if digest not in nonces:
                self._deduplicated += 1
            else:
                publisher.map(candidate.index, digest)
                if not publisher.is_storing(digest):
                    length = self._version.block_length(candidate.index)
                    self._new_bytes += length
                    put = partial(self._put, digest, nonces[digest], buffer, length)
                    publisher.store(digest, workers.submit(put))
                    continue
                self._deduplicated += 1
            self._buffers.give_back(buffer)

    def _put(self, digest: bytes, nonce: bytes, buffer: bytearray, length: int) -> NewChunk:
        """Compress and put a chunk. In a worker's thread; the buffer is given back whatever happens."""
        try:
            key = chunk_key(digest, nonce)
            parts = self._engine.envelope.wrap(key, memoryview(buffer)[:length])
            self._engine.store.put(key, parts)
            stored = sum(len(part) for part in parts)
        finally:
            self._buffers.give_back(buffer)
        self._meter.count(stored_bytes=stored)
        return NewChunk(digest, nonce, stored)
