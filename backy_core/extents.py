"""Arithmetic on byte ranges: from extents to the blocks they touch."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from backy_core.model import Extent

__all__ = ["BlockRanges", "extents_of_blocks", "touched_blocks"]


class BlockRanges:
    """A set of block indexes, kept as half-open ranges, ascending and apart; eight bytes a border.

    Extents must be added in ascending order.
    """

    def __init__(self) -> None:
        self._starts = array("q")
        self._ends = array("q")

    def add(self, start: int, end: int) -> None:
        """Add the blocks `start` to `end - 1`. `start` must not lie before the start of the range added last."""
        if end <= start:
            return
        if self._ends and start <= self._ends[-1]:
            if start < self._starts[-1]:
                raise ValueError("ranges must be added in ascending order")
            self._ends[-1] = max(end, self._ends[-1])
        else:
            self._starts.append(start)
            self._ends.append(end)

    def ranges(self) -> Iterator[range]:
        """The ranges, ascending, none touching another."""
        for start, end in zip(self._starts, self._ends, strict=True):
            yield range(start, end)

    def __iter__(self) -> Iterator[int]:
        for found in self.ranges():
            yield from found

    def __len__(self) -> int:
        return sum(self._ends) - sum(self._starts)

    def __contains__(self, index: object) -> bool:
        from bisect import bisect_right

        if not isinstance(index, int):
            return False
        place = bisect_right(self._starts, index) - 1
        return place >= 0 and index < self._ends[place]


def touched_blocks(extents: Iterable[Extent], block_size: int) -> Iterator[range]:
    """The blocks that the extents touch, even by one byte, as ascending ranges that do not touch one another.

    `extents` must be sorted and without overlap, as every list of extents is.
    """
    start = end = 0
    for extent in extents:
        if not extent.length:
            continue
        first, last = extent.offset // block_size, -(-extent.end // block_size)
        if first > end:
            if end > start:
                yield range(start, end)
            start = first
        elif end == start:
            start = first
        end = max(end, last)
    if end > start:
        yield range(start, end)


def extents_of_blocks(indexes: Iterable[int], block_size: int, size: int) -> list[Extent]:
    """The byte ranges of these blocks (ascending) of a volume of `size` bytes, neighbours joined."""
    found: list[Extent] = []
    for index in indexes:
        offset = index * block_size
        length = min(block_size, size - offset)
        if found and found[-1].end == offset:
            found[-1] = Extent(found[-1].offset, found[-1].length + length)
        else:
            found.append(Extent(offset, length))
    return found
