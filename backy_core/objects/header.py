"""The first 16 bytes of an enveloped object: what it is, how its payload is packed, and whether it is sealed."""

from __future__ import annotations

import struct
from typing import NamedTuple

from backy_core.errors import ObjectCorrupt

__all__ = ["FRAME_LENGTH", "RAW", "UNSEALED", "ZSTD", "Frame", "pack", "parse"]

RAW, ZSTD = 0, 1
"""Codecs: the payload as it is, or one zstd frame that states its content size."""

UNSEALED = 0

_FRAME = struct.Struct("<4sBsBBQ")
_MAGIC = b"BKY\x1a"
_FORMAT = 1
FRAME_LENGTH = _FRAME.size


class Frame(NamedTuple):
    """The fields. `number`: the length of the content, of a sealed object the epoch of its key instead."""

    kind: str
    codec: int
    seal: int
    number: int


def pack(key: str, codec: int, seal: int, number: int) -> bytes:
    """The first bytes of the object `key`; its kind is the key's first letter."""
    return _FRAME.pack(_MAGIC, _FORMAT, key[0].encode("ascii"), codec, seal, number)


def parse(data: bytes) -> Frame:
    """The fields at the beginning of an object; raises `ObjectCorrupt` when it does not begin as one of backy's."""
    if len(data) < FRAME_LENGTH:
        raise ObjectCorrupt(f"is {len(data)} bytes long, too short for an object")
    magic, format_, kind, codec, seal, number = _FRAME.unpack_from(data)
    if magic != _MAGIC:
        raise ObjectCorrupt("does not start as an object of backy does")
    if format_ != _FORMAT:
        raise ObjectCorrupt(f"has format {format_}, which this backy does not know")
    return Frame(kind.decode("latin-1"), codec, seal, number)
