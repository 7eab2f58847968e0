"""Restores a version: every block to its place in the target, checked, with holes where nothing is."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

from backy_core.chunks import ChunkDamaged
from backy_core.contracts.meta import MOST_VIEWED
from backy_core.contracts.target import Target
from backy_core.engine import Engine
from backy_core.extents import extents_of_blocks
from backy_core.findings import Findings, Found
from backy_core.model import Chunk, Extent, Version
from backy_core.pipeline import Meter, Workers
from backy_core.reports import ProgressCallback, RestoreReport, ignore_progress

__all__ = ["restore"]

_Written: TypeAlias = tuple[list[int], int, Found | None]
"""Which blocks were dealt with, how many bytes came from the store for them, and what was wrong."""

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
    findings = Findings(lambda chunks: engine.meta.mark_bad(session, chunks))
    damaged = array("q")
    holders: dict[int, array[int]] = {}
    written = holes = 0

    def write(chunk: Chunk, indexes: list[int]) -> _Written:
        try:
            content = reader.read(chunk, version.block_length(indexes[0]))
        except ChunkDamaged as error:
            for extent in extents_of_blocks(indexes, version.block_size, version.size):
                _clear(target, extent)
            return indexes, 0, Found(error)
        for index in indexes:
            target.write(index * version.block_size, content)
        return indexes, chunk.stored_size, None

    def clear(extent: Extent) -> _Written:
        _clear(target, extent)
        return [], 0, None

    def steps() -> Iterator[Callable[[], _Written]]:
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

    with Workers(engine.workers) as workers:
        for indexes, stored, found in workers.ordered(lambda step: step(), steps(), engine.chunks_ahead):
            length = sum(version.block_length(index) for index in indexes)
            if found is None:
                written += length
            else:
                damaged.extend(indexes)
                if found.chunk.id not in holders:
                    findings.add(found)
                if found.chunk in findings:
                    holders.setdefault(found.chunk.id, array("q")).extend(indexes)
            meter.count(done=length, stored_bytes=stored)
            meter.show()
    findings.flush()
    target.finish()
    meter.end()
    return RestoreReport(
        version=version,
        target=target.location,
        written_bytes=written,
        hole_bytes=holes,
        damage=tuple(findings.describe(version, dict(holders))),
        damaged_extents=tuple(extents_of_blocks(sorted(damaged), version.block_size, version.size)),
        damaged_chunks=findings.chunks,
        duration_seconds=round(time.monotonic() - started, 3),
        warnings=findings.warnings,
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
