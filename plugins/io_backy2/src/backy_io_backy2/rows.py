"""One line of an export: where a block's content is, and how to tell that it is the right one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backy_io_backy2.header import Header

__all__ = ["BlockRow", "RowError", "parse_row"]

_NOTHING = (b"", b"None")
_UID = re.compile(rb"[0-9A-Za-z_-]{4,64}")
"""It becomes a path: no dots and no slashes."""
_HEX = re.compile(rb"(?:[0-9a-f]{2}){1,512}")
_KNOWN_SEALS = (b"0", b"1")


class RowError(Exception):
    """A line is no block of this version; the text says why, to be put after the name of the place."""


@dataclass(frozen=True, slots=True)
class BlockRow:
    """A block. `uid` None: it is sparse, which is all zeros. `size` None: not said (of a sparse one only).

    `seal` None: the blob is the content itself; else its envelope key, wrapped with the key of the installation.
    """

    index: int
    uid: str | None
    checksum: bytes
    size: int | None
    valid: bool
    seal: bytes | None


def parse_row(line: bytes, header: Header, digest_size: int) -> BlockRow:
    """The block that a line describes, every column of it checked; raises `RowError`."""
    columns = line.rstrip(b"\r\n").split(b",")
    wanted = 10 if header.is_sealed else 7
    if len(columns) != wanted:
        raise RowError(f"has {len(columns)} columns instead of {wanted}")
    uid, version, index, _, checksum, size, valid = columns[:7]
    if version != header.uid.encode():
        raise RowError(f"belongs to another version than {header.uid}")
    if not (index.isdigit() and len(index) < 16 and int(index) < header.blocks):
        raise RowError(f"is of block {_told(index)}, but the version has {header.blocks} blocks")
    number = int(index)
    if valid not in (b"0", b"1"):
        raise RowError(f"has the valid mark {_told(valid)}, not 0 or 1")
    sparse = uid in _NOTHING
    if not (size.isdigit() and len(size) < 16) and not (sparse and size in _NOTHING):
        raise RowError(f"has the size {_told(size)}")
    length = int(size) if size.isdigit() else None
    if sparse:
        if checksum not in _NOTHING:
            raise RowError("has no blob but a checksum, so it is unknown whether it is sparse")
        return BlockRow(number, None, b"", length, valid == b"1", None)
    if not _UID.fullmatch(uid):
        raise RowError(f"has the blob uid {_told(uid)}")
    if not _HEX.fullmatch(checksum):
        raise RowError(f"has the checksum {_told(checksum)}")
    if len(checksum) != 2 * digest_size:
        raise RowError(
            f"has a checksum of {len(checksum)} digits instead of {2 * digest_size}: set 'hash' of [plugin.io_backy2]"
            " to the hash_function of backy2"
        )
    seal = _seal(columns[7], columns[8]) if header.is_sealed else None
    return BlockRow(number, uid.decode(), bytes.fromhex(checksum.decode()), length, valid == b"1", seal)


def _seal(version: bytes, key: bytes) -> bytes | None:
    if version not in _KNOWN_SEALS:
        raise RowError(f"has the encryption version {_told(version)}; this plugin knows 0 and 1: look for a newer one")
    if version == b"0":
        return None
    if not _HEX.fullmatch(key):
        raise RowError("is encrypted, but has no envelope key")
    return bytes.fromhex(key.decode())


def _told(value: bytes) -> str:
    return repr(value[:40].decode("ascii", "backslashreplace"))
