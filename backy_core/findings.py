"""Collects damage while a restore or scrub goes on: all of it is counted and recorded, the first of it is listed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from backy_core.chunks import ChunkDamaged
from backy_core.errors import BackyError
from backy_core.extents import extents_of_blocks
from backy_core.model import Chunk, Damage, Extent, Version

__all__ = ["MOST_LISTED", "Findings", "Found"]

MOST_LISTED = 10_000
"""Damaged chunks described one by one. A lost store has millions; who reads that list needs the store, not the list."""

_RECORDED_AT_ONCE = 500


class Found:
    """What was wrong with a chunk, without the traceback that holds the bytes that were read."""

    __slots__ = ("chunk", "damage")

    def __init__(self, error: ChunkDamaged) -> None:
        self.chunk: Chunk = error.chunk
        self.damage: Damage = error.damage


class Findings:
    """`record` writes that chunks are bad into the metadata store; called with some hundred at a time.

    When it fails, reading goes on: `warnings` says so, and the damage is reported all the same.
    """

    def __init__(self, record: Callable[[Sequence[Chunk]], object]) -> None:
        self._record = record
        self._unrecorded: list[Chunk] = []
        self._damage: dict[int, Damage] = {}
        self.chunks = 0
        self.warnings: tuple[str, ...] = ()

    def __contains__(self, chunk: Chunk) -> bool:
        """Whether the chunk is among the listed ones."""
        return chunk.id in self._damage

    def add(self, found: Found) -> None:
        """Another damaged chunk."""
        self.chunks += 1
        if len(self._damage) < MOST_LISTED:
            self._damage[found.chunk.id] = found.damage
        self._unrecorded.append(found.chunk)
        if len(self._unrecorded) >= _RECORDED_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Record what is not recorded yet."""
        chunks, self._unrecorded = self._unrecorded, []
        if not chunks:
            return
        try:
            self._record(chunks)
        except BackyError as error:
            self.warnings = (f"the damage could not be recorded, scrub again: {error}",)

    def describe(self, version: Version, holders: dict[int, Sequence[int]]) -> list[Damage]:
        """The listed damage of one version; `holders`: which of its blocks hold which damaged chunk."""
        return [
            Damage(damage.kind, damage.key, damage.reason, version.uid, _extents(indexes, version))
            for id_, indexes in holders.items()
            if (damage := self._damage.get(id_)) is not None
        ]


def _extents(indexes: Sequence[int], version: Version) -> tuple[Extent, ...]:
    return tuple(extents_of_blocks(sorted(array("q", indexes)), version.block_size, version.size))
