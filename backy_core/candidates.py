"""Which blocks of a source a backup has to look at, and what the version being written holds there so far."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from backy_core.contracts.meta import MOST_VIEWED, MetaStore, Writing
from backy_core.contracts.source import Source
from backy_core.extents import BlockRanges, touched_blocks
from backy_core.model import Extent, MappedBlock, Version

__all__ = ["Candidate", "every_block", "hinted_blocks", "sample_of_unhinted"]

_SAMPLE = 16
"""Unhinted blocks compared with the base at least; a thousandth of the volume, at most four times as many."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A block to look at. `current`: what the version holds there now. Without `read`, the source has a hole there."""

    index: int
    current: MappedBlock | None
    read: bool = True


def every_block(meta: MetaStore, writing: Writing, source: Source) -> Iterator[Candidate]:
    """All blocks that the source says may hold data, and those that held data before and hold none now; ascending."""
    version = writing.version
    touched = touched_blocks(_clip(source.data_extents(), version.size), version.block_size)
    if writing.base is None and not writing.continued:
        for found in touched:
            for index in found:
                yield Candidate(index, None)
        return
    waiting = next(touched, None)
    for start in range(writing.position, version.block_count, MOST_VIEWED):
        window = range(start, min(start + MOST_VIEWED, version.block_count))
        current = meta.view(version, window)
        data: set[int] = set()
        while waiting is not None and waiting.start < window.stop:
            data.update(range(max(waiting.start, window.start), min(waiting.stop, window.stop)))
            if waiting.stop > window.stop:
                break
            waiting = next(touched, None)
        held = {index for index, block in current.items() if block.chunk is not None}
        for index in sorted(data | held):
            yield Candidate(index, current.get(index), read=index in data)


def hinted_blocks(meta: MetaStore, writing: Writing, hints: BlockRanges) -> Iterator[Candidate]:
    """The hinted blocks, and those that must be read whatever the hints say; ascending.

    These are blocks whose chunk is damaged (reading them again heals it), blocks that an interrupted run has written,
    and the last block of this version and of its base where it is partial: its length may have changed.
    """
    version, base = writing.version, writing.base
    ends = set()
    for some in (version, base):
        if some is not None and some.size % some.block_size and some.block_count <= version.block_count:
            ends.add(some.block_count - 1)
    own = meta.own_indexes(version) if writing.continued else iter(())
    wanted = _unique(heapq.merge(hints, sorted(ends), own, meta.bad_indexes(version)))
    while indexes := list(islice(wanted, MOST_VIEWED)):
        current = meta.view(version, indexes)
        for index in indexes:
            yield Candidate(index, current.get(index))


def sample_of_unhinted(meta: MetaStore, writing: Writing, hints: BlockRanges) -> list[Candidate]:
    """Some unhinted blocks, chosen by chance, with what the base holds there: they must not differ from the source."""
    version = writing.version
    count = version.block_count
    wanted = min(4 * _SAMPLE, max(_SAMPLE, count // 1000))
    if count <= 64 * wanted:
        unhinted = [index for index in range(count) if index not in hints]
        chosen = random.sample(unhinted, min(wanted, len(unhinted)))
    else:
        # With nearly everything hinted some draws are in vain; then the sample is smaller, like what is left to doubt.
        chosen = [index for index in random.sample(range(count), 4 * wanted) if index not in hints][:wanted]
    chosen.sort()
    current = meta.view(version, chosen) if chosen else {}
    found = (Candidate(index, current.get(index)) for index in chosen)
    base = writing.base
    return [
        candidate
        for candidate in found
        if not (
            candidate.current is not None and (_is_rewritten(candidate.current, writing) or _is_bad(candidate.current))
        )
        and (base is None or _same_length(candidate.index, version, base))
    ]


def _is_rewritten(block: MappedBlock, writing: Writing) -> bool:
    """An interrupted run has written it. Rows of its own a version may also have by copying its base."""
    return block.own and writing.continued


def _is_bad(block: MappedBlock) -> bool:
    return block.chunk is not None and block.chunk.bad


def _same_length(index: int, version: Version, base: Version) -> bool:
    return index >= base.block_count or version.block_length(index) == base.block_length(index)


def _clip(extents: Iterable[Extent], size: int) -> Iterator[Extent]:
    for extent in extents:
        if extent.offset < size:
            yield Extent(extent.offset, min(extent.length, size - extent.offset), extent.kind)


def _unique(indexes: Iterable[int]) -> Iterator[int]:
    previous = -1
    for index in indexes:
        if index != previous:
            yield index
        previous = index
