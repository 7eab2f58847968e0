"""Makes versions from an export: no data is read but what the database has forgotten and the store still holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

from backy_core.commit import commit_version
from backy_core.contracts.meta import MOST_PLANNED, NewChunk, Writing
from backy_core.engine import Engine
from backy_core.errors import InvalidInput, ObjectCorrupt, ObjectMissing, ObjectUnreadable, RepositoryError
from backy_core.export import Exported
from backy_core.model import BackupStatistics, Version, chunk_key
from backy_core.objects.segment import Entry
from backy_core.purging import purge_rows
from backy_core.reports import ImportReport, Progress, ProgressCallback
from backy_core.selectors import check_volume_name
from backy_core.stored import StoredVersions

__all__ = ["import_versions"]


def import_versions(
    engine: Engine, session: int, exported: Iterator[Exported], progress: ProgressCallback
) -> ImportReport:
    """Make a version of each that is exported, and not in the database: with its volume, time, tags and blocks.

    Raises `RepositoryError`, keeping nothing of that version, when a block's content is nowhere in the store.
    """
    finished = [version for version in engine.meta.versions() if version.state.is_finished]
    known = {version.uid for version in finished} | {version.identity for version in finished}
    made: list[Version] = []
    there: list[str] = []
    for one in exported:
        identity = f"export:{engine.facts.repository_id}/{one.uid}"
        if {one.uid, identity} & known:
            there.append(one.uid)
        else:
            made.append(_Import(engine, session, one, identity).work())
        progress(Progress("import", len(made) + len(there), None))
    return ImportReport(tuple(made), tuple(there))


class _Import:
    def __init__(self, engine: Engine, session: int, exported: Exported, identity: str) -> None:
        self._engine = engine
        self._session = session
        self._exported = exported
        self._identity = identity
        self._stored = StoredVersions(engine.store, engine.hash, engine.envelope)
        self._changed = self._new = self._stored_bytes = 0

    def work(self) -> Version:
        started = time.monotonic()
        check_volume_name(self._exported.volume)
        one, meta = self._exported, self._engine.meta
        writing = meta.begin_version(
            self._session,
            volume=one.volume,
            size=one.size,
            block_size=self._engine.facts.block_size,
            source=one.source,
            identity=self._identity,
            base_uid=None,
            created=one.created,
        )
        try:
            changes = self._changes(writing)
            while batch := list(islice(changes, MOST_PLANNED)):
                self._take_up(writing, batch)
        except (RepositoryError, InvalidInput):
            meta.remove_version(self._session, writing.version.uid)
            purge_rows(meta, self._session, writing.version.uid, lambda _: None)
            raise
        statistics = BackupStatistics(
            changed_blocks=self._changed,
            new_chunks=self._new,
            stored_bytes=self._stored_bytes,
            duration_seconds=round(time.monotonic() - started, 3),
        )
        return commit_version(self._engine, self._session, writing, statistics, one.attributes)

    def _changes(self, writing: Writing) -> Iterator[Entry]:
        """Where the export says something else than the version holds so far."""
        version, meta = writing.version, self._engine.meta
        said = next(self._exported.entries, None)
        for start in range(0, version.block_count, MOST_PLANNED * 8):
            window = range(start, min(start + MOST_PLANNED * 8, version.block_count))
            held = {
                index: block.chunk.digest
                for index, block in meta.view(version, window).items()
                if block.chunk is not None
            }
            wanted: dict[int, bytes | None] = {}
            while said is not None and said[0] < window.stop:
                if said[1] is None or len(said[1]) != self._engine.hash.digest_size:
                    raise InvalidInput(f"the export of version {self._exported.uid} has digests of another hash")
                wanted[said[0]] = said[1]
                said = next(self._exported.entries, None)
            for index in sorted(held.keys() | wanted.keys()):
                if held.get(index) != wanted.get(index):
                    yield index, wanted.get(index)

    def _take_up(self, writing: Writing, batch: list[Entry]) -> None:
        version, meta = writing.version, self._engine.meta
        self._changed += len(batch)
        missing = meta.plan(self._session, version, batch)
        chunks = [self._put_again(version, digest, nonce) for digest, nonce in missing.items()]
        if chunks:
            self._engine.store.sync()
        blocks = [(index, digest) for index, digest in batch if digest is not None and digest in missing]
        meta.publish(self._session, version, chunks, blocks)

    def _put_again(self, version: Version, digest: bytes, nonce: bytes) -> NewChunk:
        """Content that the database does not know: found in the store, and put under a key of this version's own."""
        name = digest.hex()
        for found in self._stored.chunks(f"c/{name[:2]}/{name}-"):
            key = chunk_key(found.digest, found.nonce)
            try:
                content = self._engine.envelope.unwrap(key, self._engine.store.get(key), version.block_size)
            except (ObjectMissing, ObjectCorrupt, ObjectUnreadable):
                continue
            if self._engine.hash.digest(content) == digest:
                key = chunk_key(digest, nonce)
                parts = self._engine.envelope.wrap(key, content)
                self._engine.store.put(key, parts)
                self._new += 1
                new = NewChunk(digest, nonce, sum(len(part) for part in parts))
                self._stored_bytes += new.stored_size
                return new
        raise RepositoryError(
            f"version {self._exported.uid} of {version.volume} cannot be imported: the content with the digest {name} "
            "is not in the store any more"
        )
