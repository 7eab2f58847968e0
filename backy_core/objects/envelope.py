"""The envelope around every object's content: a fixed header, a checksum, and the content, compressed if that helps.

Layout (32 bytes, little endian), followed by the payload:

====== ====== ===========================================================================================
offset length meaning
====== ====== ===========================================================================================
0      4      magic `BKY` and 0x1a
4      1      format, 1
5      1      kind: the first letter of the object's key (`c` for a chunk)
6      1      codec of the payload: 0 as it is, 1 one zstd frame with its content size
7      1      seal: 0 none
8      8      length of the content in bytes
16     16     the first 16 bytes of the repository's hash over bytes 0 to 15 and the payload
====== ====== ===========================================================================================

The checksum makes any change to an object visible, also one that a decompressor would overlook; that the content is
the right one is for the reader to tell: a chunk's content must hash to the digest in its name.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING

from backy_core.contracts.hash import Hash
from backy_core.errors import ObjectCorrupt
from backy_core.model import Buffer

if TYPE_CHECKING:
    import zstandard

__all__ = ["HEADER_LENGTH", "Envelope"]

_HEADER = struct.Struct("<4sBsBBQ")
_MAGIC = b"BKY\x1a"
_FORMAT = 1
_RAW, _ZSTD = 0, 1
_CHECKSUM_LENGTH = 16
HEADER_LENGTH = _HEADER.size + _CHECKSUM_LENGTH


class Envelope:
    """Wraps and unwraps objects of one repository. Serves all threads; each has its own zstd contexts."""

    def __init__(self, hash_: Hash, level: int | None) -> None:
        self._hash = hash_
        self._level = level
        self._local = threading.local()

    def wrap(self, kind: str, content: Buffer) -> tuple[bytes, Buffer]:
        """Header and payload of an object with this content. The payload may be `content` itself."""
        codec, payload = _RAW, content
        if self._level is not None and len(content):
            compressed = self._compressor().compress(content)
            if len(compressed) < len(content):
                codec, payload = _ZSTD, compressed
        header = _HEADER.pack(_MAGIC, _FORMAT, kind.encode("ascii"), codec, 0, len(content))
        return header + self._hash.digest(header, payload)[:_CHECKSUM_LENGTH], payload

    def unwrap(self, kind: str, data: bytes, limit: int, *, checked: bool = True) -> bytes:
        """The content of the object `data`, at most `limit` bytes long.

        Raises `ObjectCorrupt` for anything that `wrap` did not make, before it allocates what a header demands. Only a
        caller who compares the content's own digest may do without the checksum (`checked` False).
        """
        if len(data) < HEADER_LENGTH:
            raise ObjectCorrupt(f"is {len(data)} bytes long, too short for an object")
        magic, format_, found_kind, codec, seal, length = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise ObjectCorrupt("does not start as an object of backy does")
        payload = memoryview(data)[HEADER_LENGTH:]
        if (
            checked
            and self._hash.digest(data[: _HEADER.size], payload)[:_CHECKSUM_LENGTH]
            != data[_HEADER.size : HEADER_LENGTH]
        ):
            raise ObjectCorrupt("its checksum does not fit")
        if format_ != _FORMAT or seal != 0 or codec not in (_RAW, _ZSTD):
            raise ObjectCorrupt(f"has format {format_}, codec {codec}, seal {seal}, which this backy does not know")
        if found_kind != kind.encode("ascii"):
            raise ObjectCorrupt(f"is of kind {found_kind!r}, not {kind!r}")
        if length > limit:
            raise ObjectCorrupt(f"claims {length} bytes of content, more than the {limit} it may have")
        if codec == _RAW:
            if len(payload) != length:
                raise ObjectCorrupt(f"holds {len(payload)} bytes, its header says {length}")
            return bytes(payload)
        return self._decompress(payload, length)

    def _decompress(self, payload: memoryview, length: int) -> bytes:
        import zstandard

        try:
            if zstandard.get_frame_parameters(payload).content_size != length:
                raise ObjectCorrupt("its compressed length and its header disagree")
            return self._decompressor().decompress(payload, max_output_size=length, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise ObjectCorrupt(f"does not decompress: {error}") from error

    def _compressor(self) -> zstandard.ZstdCompressor:
        found: zstandard.ZstdCompressor | None = getattr(self._local, "compressor", None)
        if found is None:
            import zstandard

            assert self._level is not None
            found = zstandard.ZstdCompressor(level=self._level, write_content_size=True, write_checksum=False)
            self._local.compressor = found
        return found

    def _decompressor(self) -> zstandard.ZstdDecompressor:
        found: zstandard.ZstdDecompressor | None = getattr(self._local, "decompressor", None)
        if found is None:
            import zstandard

            found = zstandard.ZstdDecompressor()
            self._local.decompressor = found
        return found
