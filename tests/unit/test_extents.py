"""Extents become blocks, and blocks extents, without losing a byte."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backy_core.extents import BlockRanges, extents_of_blocks, touched_blocks
from backy_core.model import Extent


@st.composite
def sorted_extents(draw: st.DrawFn) -> list[Extent]:
    found, at = [], 0
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12)):
        found.append(Extent(at + gap, length))
        at += gap + length
    return found


@given(sorted_extents(), st.integers(1, 9))
def test_the_touched_blocks_are_exactly_those_with_a_byte_in_an_extent(extents: list[Extent], block_size: int) -> None:
    expected = {byte // block_size for extent in extents for byte in range(extent.offset, extent.end)}
    ranges = list(touched_blocks(extents, block_size))
    assert [index for found in ranges for index in found] == sorted(expected)
    assert all(left.stop < right.start for left, right in pairwise(ranges)), "ranges must not touch"


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6)), max_size=15))
def test_block_ranges_hold_what_was_added(pairs: list[tuple[int, int]]) -> None:
    ranges = BlockRanges()
    expected: set[int] = set()
    for start, length in sorted(pairs):
        ranges.add(start, start + length)
        expected.update(range(start, start + length))
    assert list(ranges) == sorted(expected)
    assert len(ranges) == len(expected)
    assert [index for index in range(-2, 60) if index in ranges] == sorted(expected)


def test_block_ranges_refuse_a_step_back() -> None:
    ranges = BlockRanges()
    ranges.add(5, 7)
    with pytest.raises(ValueError, match="ascending"):
        ranges.add(4, 6)


@given(st.sets(st.integers(0, 19)), st.integers(1, 8), st.integers(1, 8))
def test_the_extents_of_blocks_cover_them_up_to_the_end_of_the_volume(
    indexes: set[int], block_size: int, partial: int
) -> None:
    size = 19 * block_size + min(partial, block_size)
    extents = extents_of_blocks(sorted(indexes), block_size, size)
    covered = [byte for extent in extents for byte in range(extent.offset, extent.end)]
    assert covered == [byte for byte in range(size) if byte // block_size in indexes]
    assert all(left.end < right.offset for left, right in pairwise(extents))
