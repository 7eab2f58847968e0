"""Where in an export each block's line is, so that a version of any size takes eight bytes of memory a block."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterator

from backy_core.errors import SourceError
from backy_core.model import Extent, block_count, block_length
from backy_io_backy2.files import open_export
from backy_io_backy2.header import read_header
from backy_io_backy2.location import shown
from backy_io_backy2.rows import BlockRow, RowError, parse_row

__all__ = ["ExportIndex"]

_LONGEST_LINE = 4096
_SHORTEST_LINE = 24
_ABSENT = 2**64 - 1
_AGAIN = "export the version again with backy2"


class ExportIndex:
    """The export at `path`, read and checked line by line; stays open. Raises `NotFound` and `SourceError`.

    `digest`: of all its bytes. `block_size` in bytes. `first_invalid`: a block that backy2 marked invalid, or None.
    `first_sealed`: an encrypted block, or None. Lookups may come from several threads at once.
    """

    def __init__(self, path: str, digest_size: int) -> None:
        self._path = shown(path)
        self._digest_size = digest_size
        self.first_invalid: int | None = None
        self.first_sealed: int | None = None
        self.block_size = 0
        self._last_size: int | None = None
        self._descriptor = open_export(path)
        try:
            self._opened = os.fstat(self._descriptor)
            self._scan()
        except OSError as error:
            os.close(self._descriptor)
            raise SourceError(f"cannot read the export {self._path}: {error.strerror}; check the disk") from error
        except BaseException:
            os.close(self._descriptor)
            raise

    def _scan(self) -> None:
        digest = hashlib.sha256()
        with open(self._descriptor, "rb", buffering=1 << 20, closefd=False) as file:

            def readline(limit: int) -> bytes:
                line = file.readline(limit)
                digest.update(line)
                return line

            header = self.header = read_header(readline, self._path)
            room = self._opened.st_size // _SHORTEST_LINE
            if header.blocks > room:
                raise SourceError(
                    f"{self._path} is cut short: the version has {header.blocks} blocks, it has room for {room};"
                    f" {_AGAIN}"
                )
            # The offset of a block's line times two, plus one when it is sparse.
            self._places = array("Q", [_ABSENT]) * header.blocks
            offset, number = header.length, header.lines
            while line := readline(_LONGEST_LINE):
                number += 1
                self._enter(line, offset, f"{self._path}, line {number},")
                offset += len(line)
        self._check_whole()
        self._refuse_changed()
        self.digest = digest.hexdigest()

    def _enter(self, line: bytes, offset: int, place: str) -> None:
        if not line.endswith(b"\n"):
            how = "is too long for a block" if len(line) == _LONGEST_LINE else "is cut short"
            raise SourceError(f"{place} {how}; {_AGAIN}")
        try:
            row = parse_row(line, self.header, self._digest_size)
        except RowError as error:
            raise SourceError(f"{place} {error}; if nothing explains that, {_AGAIN}") from error
        if self._places[row.index] != _ABSENT:
            raise SourceError(f"{place} is of block {row.index}, which another line describes already; {_AGAIN}")
        self._places[row.index] = offset << 1 | (row.uid is None)
        if not row.valid and self.first_invalid is None:
            self.first_invalid = row.index
        if row.seal is not None and self.first_sealed is None:
            self.first_sealed = row.index
        if row.size is None:
            return
        if row.index == self.header.blocks - 1:
            self._last_size = row.size
        elif not self.block_size:
            self.block_size = row.size
        elif row.size != self.block_size:
            raise SourceError(
                f"{place} gives block {row.index} {row.size} bytes, others have {self.block_size}; restore this version"
                " with backy2 and back up the result instead"
            )

    def _check_whole(self) -> None:
        """Every block has its line, and their sizes make up the version's."""
        header = self.header
        if _ABSENT in self._places:
            first, missing = self._places.index(_ABSENT), self._places.count(_ABSENT)
            raise SourceError(
                f"{self._path} is incomplete: {missing} of {header.blocks} blocks are missing, the first is block"
                f" {first}; {_AGAIN}"
            )
        if not self.block_size:  # there is one block, or none but the last says its size: the others are sparse
            self.block_size = -(-header.size // max(1, header.blocks))
            if header.blocks > 1 and self._last_size is not None:
                self.block_size = max(0, header.size - self._last_size) // (header.blocks - 1)
        fits = block_count(header.size, self.block_size) == header.blocks if self.block_size else not header.blocks
        last = block_length(header.size, self.block_size, header.blocks - 1) if header.blocks else None
        if not fits or (self._last_size is not None and self._last_size != last):
            raise SourceError(
                f"{self._path} contradicts itself: {header.blocks} blocks of {self.block_size} bytes, the last of"
                f" {self._last_size}, are not the version's {header.size} bytes; {_AGAIN}"
            )

    def is_sparse(self, index: int) -> bool:
        """The block is all zeros and has no blob."""
        return bool(self._places[index] & 1)

    def row(self, index: int) -> BlockRow:
        """The block's line, read again; raises `SourceError` when the export was changed meanwhile."""
        self._refuse_changed()
        try:
            line, newline, _ = os.pread(self._descriptor, _LONGEST_LINE, self._places[index] >> 1).partition(b"\n")
            row = parse_row(line, self.header, self._digest_size)
        except OSError as error:
            raise SourceError(
                f"cannot read block {index} in the export {self._path}: {error.strerror}; check the disk"
            ) from error
        except RowError as error:
            raise self._changed() from error
        if not newline or row.index != index:
            raise self._changed()
        return row

    def extents(self) -> Iterator[Extent]:
        """The ranges with blobs, neighbours made one."""
        start: int | None = None
        for index, place in enumerate(self._places):
            if not place & 1:
                start = index if start is None else start
            elif start is not None:
                yield self._extent(start, index)
                start = None
        if start is not None:
            yield self._extent(start, len(self._places))

    def _extent(self, start: int, end: int) -> Extent:
        offset = start * self.block_size
        return Extent(offset, min(end * self.block_size, self.header.size) - offset)

    def _refuse_changed(self) -> None:
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._opened.st_size, self._opened.st_mtime_ns):
            raise self._changed()

    def _changed(self) -> SourceError:
        return SourceError(f"{self._path} was written to while it was read; start again when it is finished")

    def close(self) -> None:
        """Close the export."""
        os.close(self._descriptor)
