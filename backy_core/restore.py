"""Restores a version: every block to its place in the target, checked, with holes where nothing is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from backy_core.chunks import ChunkDamaged
from backy_core.contracts.meta import MOST_VIEWED
from backy_core.contracts.target import Target
from backy_core.engine import Engine
from backy_core.extents import extents_of_blocks
from backy_core.model import Chunk, Damage, Extent, Version
from backy_core.pipeline import Meter, Workers, buffer_count
from backy_core.reports import ProgressCallback, RestoreReport, ignore_progress

__all__ = ["restore"]

_WINDOW = MOST_VIEWED // 4
"""Blocks looked up at once: short enough that progress moves and an interrupt is heard."""


def restore(
    engine: Engine,
    session: int,
    version: Version,
    target: Target,
    *,
    progress: ProgressCallback = ignore_progress,
) -> RestoreReport:
    """Write the pinned `version` to `target` and finish it: every byte of it is the version's, or reported as damage.

    Damaged blocks do not stop it: they become zeros, are listed, and their chunks are marked bad so that the next
    backup with the same content heals them. Raises `StoreError` when the store cannot be reached: then the target is
    abandoned.
    """
    started = time.monotonic()
    meter = Meter("restore", version.size, progress)
    reader = engine.reader()
    damaged: dict[int, ChunkDamaged] = {}
    written = holes = 0

    def write(chunk: Chunk, indexes: list[int]) -> tuple[list[int], int, ChunkDamaged | None]:
        length = version.block_length(indexes[0])
        try:
            content = reader.read(chunk, length)
        except ChunkDamaged as found:
            for extent in extents_of_blocks(indexes, version.block_size, version.size):
                _clear(target, extent)
            return indexes, 0, found
        for index in indexes:
            target.write(index * version.block_size, content)
        return indexes, chunk.stored_size, None

    def clear(extent: Extent) -> tuple[list[int], int, ChunkDamaged | None]:
        _clear(target, extent)
        return [], 0, None

    def steps() -> Iterator[Callable[[], tuple[list[int], int, ChunkDamaged | None]]]:
        nonlocal holes
        for start in range(0, version.block_count, _WINDOW):
            window = range(start, min(start + _WINDOW, version.block_count))
            by_chunk, empty = _sort_out(engine, version, window)
            for chunk, indexes in by_chunk:
                yield partial(write, chunk, indexes)
            for extent in extents_of_blocks(empty, version.block_size, version.size):
                holes += extent.length
                meter.count(done=extent.length)
                yield partial(clear, extent)

    ahead = max(2, min(2 * engine.workers, buffer_count(engine.memory, version.block_size) // 2))
    with Workers(engine.workers) as workers:
        for indexes, stored, found in workers.ordered(lambda step: step(), steps(), ahead):
            if found is not None:
                damaged.update(dict.fromkeys(indexes, found))
            else:
                written += sum(version.block_length(index) for index in indexes)
            meter.count(done=sum(version.block_length(index) for index in indexes), stored_bytes=stored)
            meter.show()
    target.finish()
    meter.end()
    if damaged:
        engine.meta.mark_bad(session, [found.chunk for found in damaged.values()])
    return RestoreReport(
        version=version,
        target=target.location,
        written_bytes=written,
        hole_bytes=holes,
        damage=_collect(damaged, version),
        damaged_extents=tuple(extents_of_blocks(sorted(damaged), version.block_size, version.size)),
        duration_seconds=round(time.monotonic() - started, 3),
    )


def _sort_out(engine: Engine, version: Version, window: range) -> tuple[list[tuple[Chunk, list[int]]], list[int]]:
    """The window's chunks, each with the blocks that hold it, so that each is fetched once; and its holes."""
    current = engine.meta.view(version, window)
    by_chunk: dict[int, tuple[Chunk, list[int]]] = {}
    empty: list[int] = []
    for index in window:
        block = current.get(index)
        if block is None or block.chunk is None:
            empty.append(index)
        else:
            by_chunk.setdefault(block.chunk.id, (block.chunk, []))[1].append(index)
    return list(by_chunk.values()), empty


def _clear(target: Target, extent: Extent) -> None:
    if not target.starts_zeroed:
        target.zero(extent.offset, extent.length)


def _collect(damaged: dict[int, ChunkDamaged], version: Version) -> tuple[Damage, ...]:
    """One `Damage` a chunk, with the extents of this version that it leaves damaged."""
    by_key: dict[str, tuple[Damage, list[int]]] = {}
    for index in sorted(damaged):
        damage = damaged[index].damage
        by_key.setdefault(damage.key, (damage, []))[1].append(index)
    return tuple(
        Damage(
            damage.kind,
            damage.key,
            damage.reason,
            version.uid,
            tuple(extents_of_blocks(indexes, version.block_size, version.size)),
        )
        for damage, indexes in by_key.values()
    )
