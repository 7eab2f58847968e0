"""Reads blobs, verifying each one; whatever is wrong with one is told with its block and path."""

from __future__ import annotations

import hashlib
import os

from backy_core.errors import SourceError
from backy_io_backy2.files import open_regular
from backy_io_backy2.location import shown
from backy_io_backy2.rows import BlockRow
from backy_io_backy2.sealed import SealError, largest, unseal, unwrap

__all__ = ["Blobs"]


class Blobs:
    """The folder of blobs of an installation. `hash_name`: of the checksums; `key`: of encrypted blobs, or None.

    Every method may be called from several threads at once.
    """

    def __init__(self, folder: str, hash_name: str, key: bytes | None) -> None:
        self._folder = folder
        self._hash_name = hash_name
        self._key = key

    def path(self, uid: str) -> str:
        """Where the blob is: two folders of two characters each, then its whole uid."""
        return os.path.join(self._folder, uid[:2], uid[2:4], f"{uid}.blob")

    def check_key(self, row: BlockRow) -> None:
        """Raise `SourceError` when the envelope key of this block does not open; no blob is read."""
        try:
            self._own_key(row)
        except SealError as error:
            raise SourceError(f"block {row.index} cannot be read: {error}") from error

    def read(self, row: BlockRow, into: memoryview) -> None:
        """Fill `into`, which has the block's size, with the verified content of its blob; raises `SourceError`."""
        assert row.uid is not None, "a sparse block has no blob"
        path = self.path(row.uid)
        place = f"block {row.index} cannot be read: its blob {shown(path)}"
        try:
            descriptor = open_regular(path)
            try:
                length = os.fstat(descriptor).st_size
                if row.seal is None:
                    self._read_plain(descriptor, length, into, place)
                else:
                    self._read_sealed(descriptor, length, row, into, place)
            finally:
                # Nobody reads a blob twice: it must not drive out what others have in the cache.
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SourceError(
                f"{place} is missing; check that data= is the path in backy2's [DataBackend], or take another version"
            ) from error
        except OSError as error:
            raise SourceError(f"{place}: {error.strerror}; check its owner and mode, and the disk (dmesg)") from error
        if hashlib.new(self._hash_name, into, usedforsecurity=False).digest() != row.checksum:
            raise SourceError(
                f"{place} does not match its {self._hash_name} checksum: it is damaged; look with backy2 scrub which"
                " versions are whole"
            )

    def _read_plain(self, descriptor: int, length: int, into: memoryview, place: str) -> None:
        if length != len(into):
            raise SourceError(
                f"{place} has {length} bytes instead of {len(into)}; look with backy2 scrub which versions are whole"
            )
        _fill(descriptor, into, place)

    def _read_sealed(self, descriptor: int, length: int, row: BlockRow, into: memoryview, place: str) -> None:
        if length > largest(len(into)):
            raise SourceError(f"{place} has {length} bytes, too many for an encrypted block of {len(into)} bytes")
        blob = bytearray(length)
        _fill(descriptor, memoryview(blob), place)
        try:
            into[:] = unseal(self._own_key(row), blob, len(into))
        except SealError as error:
            raise SourceError(f"{place} cannot be decrypted: {error}") from error

    def _own_key(self, row: BlockRow) -> bytes:
        if self._key is None or row.seal is None:
            raise SealError("there is no encryption_key in the settings, under [plugin.io_backy2]")
        return unwrap(self._key, row.seal)


def _fill(descriptor: int, view: memoryview, place: str) -> None:
    filled = 0
    while filled < len(view):
        count = os.preadv(descriptor, [view[filled:]], filled)
        if not count:
            raise SourceError(f"{place} became shorter while it was read; let no backy2 write to it meanwhile")
        filled += count
