"""Copies versions to another repository: shows each as a source, and has it backed up there, sealed anew."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from backy_core.chunks import ChunkDamaged
from backy_core.contracts.meta import MOST_VIEWED, MetaStore
from backy_core.contracts.source import Source
from backy_core.engine import Engine
from backy_core.errors import NotFound, SourceError
from backy_core.extents import BlockRanges
from backy_core.model import Attributes, Extent, MappedBlock, Version, block_count
from backy_core.reports import BackupReport, CopyReport

__all__ = ["CopyTarget", "VersionSource", "copy"]

CopyTarget = Callable[[Source, str, BlockRanges | None, str | None, Attributes], BackupReport]
"""Backs up a source over there: as a version of this volume, with these hints since this base, and these attributes."""


def copy(
    engine: Engine, session: int, versions: Sequence[Version], there: MetaStore, back_up: CopyTarget
) -> CopyReport:
    """Copy these versions, oldest first; those with a finished copy among the versions `there` are passed over.

    Where the version before is the newest one of its volume over there, only what has changed since is read. A version
    removed meanwhile is left out.
    """
    repository_id = engine.facts.repository_id
    wanted = _to_copy(versions, repository_id, there.versions())
    done: list[tuple[Version, BackupReport]] = []
    for version in wanted:
        try:
            pinned = engine.meta.pin(session, version.uid)
        except NotFound:
            continue
        here, base = _copied_before(engine, version.volume, there)
        hints = None if here is None else _changed_since(engine, pinned, here, there.facts().block_size)
        base_uid = base.uid if base is not None and hints is not None else None
        source = VersionSource(engine, pinned)
        done.append((pinned, back_up(source, version.volume, hints, base_uid, version.attributes)))
        engine.meta.unpin(session, version.uid)
    copied = {version.uid for version in wanted}
    return CopyReport(tuple(done), tuple(version for version in versions if version.uid not in copied))


class VersionSource(Source):
    """A pinned version, read chunk by chunk, every digest checked. Damage raises `SourceError`, never gives zeros."""

    def __init__(self, engine: Engine, version: Version) -> None:
        self.location = version.source
        self.size = version.size
        self.parallel_requests = engine.workers
        self.identity = _identity_of(engine.facts.repository_id, version.uid)
        self.volume = version.volume
        self.made = version.created
        self.expires = version.attributes.expires
        self._engine = engine
        self._version = version
        self._reader = engine.reader()
        self._lock = threading.Lock()
        self._window: tuple[int, dict[int, MappedBlock]] = (-1, {})

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """See `Source.read_into`."""
        size = self._version.block_size
        done = 0
        while done < len(buffer):
            index, skip = divmod(offset + done, size)
            length = min(self._version.block_length(index) - skip, len(buffer) - done)
            if length <= 0:
                raise SourceError(f"{self._shown} ends at {self.size}; there is nothing at {offset + done}")
            buffer[done : done + length] = self._block(index)[skip : skip + length]
            done += length

    def data_extents(self) -> Iterator[Extent]:
        """See `Source.data_extents`: the blocks that have a chunk."""
        version = self._version
        start = end = 0
        for low in range(0, version.block_count, MOST_VIEWED):
            window = range(low, min(low + MOST_VIEWED, version.block_count))
            for index, block in self._engine.meta.view(version, window).items():
                if block.chunk is None:
                    continue
                offset = index * version.block_size
                if offset != end:
                    if end > start:
                        yield Extent(start, end - start)
                    start = offset
                end = offset + version.block_length(index)
        if end > start:
            yield Extent(start, end - start)

    def _block(self, index: int) -> bytes:
        block = self._look_up(index)
        length = self._version.block_length(index)
        if block is None or block.chunk is None:
            return bytes(length)
        try:
            return self._reader.read(block.chunk, length)
        except ChunkDamaged as error:
            raise SourceError(
                f"block {index} of {self._shown} is damaged: {error.damage.key} {error.damage.reason}; "
                "scrub it, back its volume up again, and copy that version"
            ) from error

    def _look_up(self, index: int) -> MappedBlock | None:
        number = index // MOST_VIEWED
        with self._lock:
            if self._window[0] != number:
                low = number * MOST_VIEWED
                window = range(low, min(low + MOST_VIEWED, self._version.block_count))
                self._window = (number, self._engine.meta.view(self._version, window))
            return self._window[1].get(index)

    @property
    def _shown(self) -> str:
        return f"version {self._version.uid} of {self._version.volume}"


def _identity_of(repository_id: str, uid: str) -> str:
    """What a copy of this version has as its identity: with it, a second copy is not made, and a first one goes on."""
    return f"backy:{repository_id}/{uid}"


def _to_copy(versions: Sequence[Version], repository_id: str, there: Sequence[Version]) -> list[Version]:
    copied = {version.identity for version in there if version.state.is_finished}
    wanted = [version for version in versions if _identity_of(repository_id, version.uid) not in copied]
    return sorted(wanted, key=lambda version: (version.created, version.birth))


def _copied_before(engine: Engine, volume: str, there: MetaStore) -> tuple[Version | None, Version | None]:
    """The version here that the newest one of the volume over there is a copy of, and that newest one."""
    copies = [version for version in there.versions(volume) if version.state.is_finished]
    if not copies:
        return None, None
    repository_id = engine.facts.repository_id
    here = {_identity_of(repository_id, version.uid): version for version in engine.meta.versions(volume)}
    return here.get(copies[-1].identity or ""), copies[-1]


def _changed_since(engine: Engine, version: Version, older: Version, block_size: int) -> BlockRanges | None:
    """The blocks (of `block_size` bytes) in which `version` may differ from `older`, None when `older` is no ancestor.

    Blocks beyond the end of the smaller one are among them.
    """
    direct = older.lineage == version.lineage and older.birth <= version.birth
    branched = version.parent is not None and older.lineage == version.parent[0] and older.birth <= version.parent[1]
    if not direct and not branched:
        return None
    touched = BlockRanges()
    end = block_count(version.size, block_size)
    grown = older.size // block_size if older.size < version.size else end
    for index, _ in engine.meta.entries(version, (older.lineage, older.birth)):
        offset = index * version.block_size
        first = offset // block_size
        if offset >= version.size or first >= grown:
            break
        touched.add(first, block_count(min(offset + version.block_size, version.size), block_size))
    touched.add(grown, end)
    return touched
