"""The content of a segment's pieces: runs of block indexes with their digests, or holes. Layout: `docs/format.md`."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge

from backy_core.errors import ObjectCorrupt

__all__ = ["PIECE_LIMIT", "Entry", "Piece", "cut", "entries_of", "newest"]

Entry = tuple[int, bytes | None]
"""A block index and the digest of what is there, None for a hole."""

PIECE_LIMIT = 8 * 1024 * 1024
"""Bytes that the content of a piece may have."""

_FULL = 4 * 1024 * 1024
"""Bytes after which a piece is cut: with digests of 32 bytes, half a TiB of blocks of the default size."""

_RUN = struct.Struct("<QIB")
_HOLES, _DIGESTS = 0, 1
_LONGEST_RUN = 65_536
"""Blocks in a run as it is written, so that a piece is cut near where it is full. Readers know no such bound."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The content of one piece: its first block index, how many indexes it has, and the bytes."""

    first: int
    entries: int
    content: bytes


def cut(entries: Iterable[Entry], full: int = _FULL) -> Iterator[Piece]:
    """The entries (ascending) as pieces, each a little longer than `full` bytes at most."""
    done: list[bytes] = []
    length = count = first = 0
    for start, digests, holes in _runs(entries):
        if not count:
            first = start
        done.append(_RUN.pack(start, holes or len(digests), _HOLES if holes else _DIGESTS))
        done.extend(digests)
        length += _RUN.size + (len(digests) * len(digests[0]) if digests else 0)
        count += holes or len(digests)
        if length >= full:
            yield Piece(first, count, b"".join(done))
            done, length, count = [], 0, 0
    if count:
        yield Piece(first, count, b"".join(done))


def entries_of(content: bytes, digest_size: int, most: int) -> Iterator[Entry]:
    """The entries of a piece, ascending. Raises `ObjectCorrupt` for what `cut` did not make, or more than `most`."""
    place, below = 0, 0
    while place < len(content):
        if place + _RUN.size > len(content):
            raise ObjectCorrupt("its last run is cut off")
        start, count, kind = _RUN.unpack_from(content, place)
        place += _RUN.size
        most -= count
        if start < below or not count or most < 0 or kind not in (_HOLES, _DIGESTS):
            raise ObjectCorrupt(f"has a run of {count} blocks at {start}, kind {kind}, which cannot be there")
        below = start + count
        if kind == _HOLES:
            for index in range(start, below):
                yield index, None
            continue
        end = place + count * digest_size
        if end > len(content):
            raise ObjectCorrupt("its last digests are cut off")
        for index, offset in enumerate(range(place, end, digest_size), start):
            yield index, content[offset : offset + digest_size]
        place = end


def newest(streams: Iterable[Iterator[Entry]]) -> Iterator[Entry]:
    """Several streams of entries, oldest first, as one: ascending, and of each index what the youngest stream says."""
    ordered = list(streams)
    if len(ordered) == 1:
        yield from ordered[0]
        return
    tagged = [_tagged(stream, -age) for age, stream in enumerate(ordered)]
    previous = -1
    for index, _, digest in merge(*tagged, key=lambda entry: entry[:2]):
        if index != previous:
            previous = index
            yield index, digest


def _tagged(stream: Iterator[Entry], rank: int) -> Iterator[tuple[int, int, bytes | None]]:
    for index, digest in stream:
        yield index, rank, digest


def _runs(entries: Iterable[Entry]) -> Iterator[tuple[int, list[bytes], int]]:
    """First index, the digests, or how many holes."""
    start = end = holes = 0
    digests: list[bytes] = []
    for index, digest in entries:
        same_kind = bool(digests) if digest is not None else bool(holes)
        if index != end or not same_kind or end - start >= _LONGEST_RUN:
            if end > start:
                yield start, digests, holes
            start, digests, holes = index, [], 0
        if digest is None:
            holes += 1
        else:
            digests.append(digest)
        end = index + 1
    if end > start:
        yield start, digests, holes
