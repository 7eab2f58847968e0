"""Segments: what is cut into pieces is read back, the newest word counts, and nothing else passes for a piece."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backy_core.errors import ObjectCorrupt
from backy_core.objects.segment import Entry, cut, entries_of, newest

SIZE = 4
DIGESTS = st.one_of(st.none(), st.binary(min_size=SIZE, max_size=SIZE))
MAPS = st.dictionaries(st.integers(0, 300), DIGESTS, max_size=120)


def ascending(contents: dict[int, bytes | None]) -> list[Entry]:
    return sorted(contents.items())


@given(MAPS, st.integers(1, 200))
def test_what_is_cut_is_read_back(contents: dict[int, bytes | None], full: int) -> None:
    pieces = list(cut(ascending(contents), full))
    found = [entry for piece in pieces for entry in entries_of(piece.content, SIZE, piece.entries)]
    assert found == ascending(contents)
    assert [piece.first for piece in pieces] == [
        next(entries_of(piece.content, SIZE, piece.entries))[0] for piece in pieces
    ]
    assert sum(piece.entries for piece in pieces) == len(contents)


def test_a_full_map_is_little_longer_than_its_digests() -> None:
    entries = [(index, index.to_bytes(32, "big")) for index in range(200_000)]
    pieces = list(cut(entries))
    assert len(pieces) == 2
    assert all(len(piece.content) < 32 * piece.entries + 64 for piece in pieces)
    assert all(len(piece.content) < 8 * 1024 * 1024 for piece in pieces)


def test_a_long_hole_is_short() -> None:
    [piece] = cut((index, None) for index in range(1_000_000))
    assert len(piece.content) < 300


@given(st.lists(MAPS, min_size=1, max_size=5))
def test_of_several_segments_the_newest_word_counts(layers: list[dict[int, bytes | None]]) -> None:
    expected: dict[int, bytes | None] = {}
    for layer in layers:
        expected |= layer
    assert list(newest([iter(ascending(layer)) for layer in layers])) == ascending(expected)


@given(MAPS.filter(bool), st.data())
def test_a_piece_that_is_cut_off_is_refused(contents: dict[int, bytes | None], data: st.DataObject) -> None:
    [piece] = cut(ascending(contents))
    whole = piece.content
    length = data.draw(st.integers(1, len(whole) - 1))
    left = []
    try:
        left = list(entries_of(whole[:length], SIZE, piece.entries))
    except ObjectCorrupt:
        return
    # Cut between two runs it is a piece of its own; then its manifest, which counts the entries, notices.
    assert len(left) < piece.entries


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<QIB", 5, 0, 0),
        struct.pack("<QIB", 5, 1, 2),
        struct.pack("<QIB", 5, 4, 0) + struct.pack("<QIB", 8, 1, 0),
        struct.pack("<QIB", 5, 4_000_000_000, 0),
        struct.pack("<QIB", 5, 2, 1) + bytes(SIZE),
    ],
    ids=["empty run", "unknown kind", "overlap", "more than counted", "digests cut off"],
)
def test_what_cannot_be_is_refused(content: bytes) -> None:
    with pytest.raises(ObjectCorrupt):
        list(entries_of(content, SIZE, 1000))
