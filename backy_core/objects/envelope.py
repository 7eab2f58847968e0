"""The envelope around every object's content: a header, then a checksum and the payload, or a seal around both.

Layout (32 bytes, little endian), followed by the payload; for sealed objects see `backy_core.objects.seals`:

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

import threading
from typing import TYPE_CHECKING

from backy_core.contracts.hash import Hash
from backy_core.errors import ObjectCorrupt
from backy_core.model import Buffer
from backy_core.objects import header

if TYPE_CHECKING:
    import zstandard

    from backy_core.objects.seals import Seal

__all__ = ["HEADER_LENGTH", "Envelope"]

_CHECKSUM_LENGTH = 16
HEADER_LENGTH = header.FRAME_LENGTH + _CHECKSUM_LENGTH
"""Bytes before the payload of an object that is not sealed."""


class Envelope:
    """Wraps and unwraps objects of one repository. Serves all threads; each has its own zstd contexts.

    With a seal, that of an encrypted repository, every object is sealed; without one, none is.
    """

    def __init__(self, hash_: Hash, level: int | None, seal: Seal | None = None) -> None:
        self._hash = hash_
        self._level = level
        self._seal = seal
        self._local = threading.local()

    def wrap(self, key: str, content: Buffer) -> list[Buffer]:
        """The parts of the object `key` with this content. One of them may be `content` itself."""
        codec, payload = header.RAW, content
        if self._level is not None and len(content):
            compressed = self._compressor().compress(content)
            if len(compressed) < len(content):
                codec, payload = header.ZSTD, compressed
        if self._seal is not None:
            return [self._seal.seal(key, codec, len(content), payload)]
        frame = header.pack(key, codec, header.UNSEALED, len(content))
        return [frame + self._hash.digest(frame, payload)[:_CHECKSUM_LENGTH], payload]

    def unwrap(self, key: str, data: bytes, limit: int, *, checked: bool = True) -> bytes:
        """The content of the object `key`, whose bytes are `data`; at most `limit` bytes long.

        Raises `ObjectCorrupt` for anything that `wrap` did not make, before it allocates what a header demands. Only a
        caller who compares the content's own digest may do without the checksum (`checked` False); a seal is always
        checked. Raises `KeyRefused` when the seal can only close.
        """
        frame = header.parse(data)
        if self._seal is None and frame.seal != header.UNSEALED:
            raise ObjectCorrupt(f"has seal {frame.seal}, though the repository is not encrypted")
        if self._seal is not None and frame.seal == header.UNSEALED:
            raise ObjectCorrupt("is not sealed, though the repository is encrypted: it was put in its place")
        if frame.kind != key[0]:
            raise ObjectCorrupt(f"is of kind {frame.kind!r}, not {key[0]!r}")
        if self._seal is not None:
            if frame.codec != header.RAW:
                raise ObjectCorrupt(f"has codec {frame.codec} outside its seal")
            codec, length, payload = self._seal.open(key, data, limit)
        else:
            codec, length, payload = self._plain(frame, data, checked)
        if length > limit:
            raise ObjectCorrupt(f"claims {length} bytes of content, more than the {limit} it may have")
        if codec == header.RAW:
            if len(payload) != length:
                raise ObjectCorrupt(f"holds {len(payload)} bytes, its header says {length}")
            return bytes(payload)
        return self._decompress(payload, length)

    def _plain(self, frame: header.Frame, data: bytes, checked: bool) -> tuple[int, int, memoryview]:
        if len(data) < HEADER_LENGTH:
            raise ObjectCorrupt(f"is {len(data)} bytes long, too short for an object")
        payload = memoryview(data)[HEADER_LENGTH:]
        if checked:
            checksum = self._hash.digest(data[: header.FRAME_LENGTH], payload)[:_CHECKSUM_LENGTH]
            if checksum != data[header.FRAME_LENGTH : HEADER_LENGTH]:
                raise ObjectCorrupt("its checksum does not fit")
        if frame.codec not in (header.RAW, header.ZSTD):
            raise ObjectCorrupt(f"has codec {frame.codec}, which this backy does not know")
        return frame.codec, frame.number, payload

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
