"""Seals: AES-256-GCM with a key of its own for each object. Layout: `docs/format.md`, enveloped objects.

Key and nonce come from a random salt, so that no counter has to be kept and none can be repeated by a cloned machine.
The commitment tells a wrong key from damage before anything is decrypted. This module imports the cryptography; only an
encrypted repository loads it.
"""

from __future__ import annotations

import hmac
import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backy_core.errors import KeyRefused, ObjectCorrupt
from backy_core.model import Buffer
from backy_core.objects import header

__all__ = ["MasterSeal", "Opened", "Seal", "WriteSeal"]

_STEP = 32 * 1024
"""Sealed objects are a multiple of this long, so that their lengths say little about what is in them."""

_BY_KEY, _FOR_KEY = 1, 2
_SALT, _COMMITMENT, _PUBLIC, _TAG = 32, 32, 32, 16
_INNER = struct.Struct("<B7sQQ")
_ZEROS = memoryview(bytes(_STEP))
_EPOCH = 0


class Opened(NamedTuple):
    """What was sealed: codec and payload, and the length that the content has when the payload is unpacked."""

    codec: int
    length: int
    payload: memoryview


class Seal(ABC):
    """Seals and opens the objects of one repository. One serves all threads. Shows its keys to nobody."""

    __slots__ = ()

    @abstractmethod
    def seal(self, key: str, codec: int, length: int, payload: Buffer) -> bytearray:
        """The whole object `key` with this payload, whose content has this length."""

    @abstractmethod
    def open(self, key: str, data: bytes, limit: int) -> Opened:
        """What the object `key` holds, whose content may have `limit` bytes.

        Raises `ObjectCorrupt` for anything that was not sealed under this name for this repository; `KeyRefused` when
        the keys at hand cannot open anything.
        """

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a seal is not copied or stored: it holds keys")


class MasterSeal(Seal):
    """The seal of who holds the master key: seals by it (seal 1), and opens what was sealed by or for it (1 and 2)."""

    __slots__ = ("_reader", "_reader_public", "_repository", "_sealing_key", "_write_key")

    def __init__(
        self, repository: str, sealing_key: Callable[[int], bytes], write_key: bytes, reader: X25519PrivateKey
    ) -> None:
        self._repository = repository
        # A hostile store could name ever new epochs.
        self._sealing_key = lru_cache(maxsize=16)(sealing_key)
        self._write_key = write_key
        self._reader = reader
        self._reader_public = reader.public_key().public_bytes_raw()

    def seal(self, key: str, codec: int, length: int, payload: Buffer) -> bytearray:
        return _seal(self._repository, key, _BY_KEY, self._sealing_key(_EPOCH), b"", b"", codec, length, payload)

    def open(self, key: str, data: bytes, limit: int) -> Opened:
        frame = header.parse(data)
        if frame.seal == _BY_KEY:
            return _open(self._repository, key, data, self._sealing_key(frame.number), b"", b"", limit)
        if frame.seal != _FOR_KEY:
            raise ObjectCorrupt(f"has seal {frame.seal}, which this backy does not know")
        public = data[header.FRAME_LENGTH + _SALT + _COMMITMENT :][:_PUBLIC]
        try:
            shared = self._reader.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:  # too short, or a point that gives everybody the same secret
            raise ObjectCorrupt("its ephemeral key is none") from error
        return _open(self._repository, key, data, shared + self._write_key, public, self._reader_public, limit)


class WriteSeal(Seal):
    """The seal of a host that may write but not read: seals for the holder of the master key (seal 2)."""

    __slots__ = ("_reader", "_reader_public", "_repository", "_write_key")

    def __init__(self, repository: str, write_key: bytes, reader_public: bytes) -> None:
        self._repository = repository
        self._write_key = write_key
        self._reader_public = reader_public
        self._reader = X25519PublicKey.from_public_bytes(reader_public)

    def seal(self, key: str, codec: int, length: int, payload: Buffer) -> bytearray:
        ephemeral = X25519PrivateKey.generate()
        input_key = ephemeral.exchange(self._reader) + self._write_key
        public = ephemeral.public_key().public_bytes_raw()
        return _seal(self._repository, key, _FOR_KEY, input_key, public, self._reader_public, codec, length, payload)

    def open(self, key: str, data: bytes, limit: int) -> Opened:
        raise KeyRefused(
            "this host holds only the write key, which opens nothing; do it where the passphrase or a recovery key is"
        )


def _seal(
    repository: str,
    name: str,
    number: int,
    input_key: bytes,
    public: bytes,
    reader_public: bytes,
    codec: int,
    length: int,
    payload: Buffer,
) -> bytearray:
    salt = os.urandom(_SALT)
    key, nonce, commitment = _derived(repository, name, input_key, salt, public, reader_public)
    clear = header.pack(name, header.RAW, number, _EPOCH) + salt + commitment + public
    size = _padded(len(clear), len(payload))
    sealed = bytearray(size)
    view = memoryview(sealed)
    view[: len(clear)] = clear
    place = len(clear)
    # Piece by piece into its place: nothing is copied to be put together first. The interpreter lock is free meanwhile.
    encryptor = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(clear + _names(repository, name))
    padding = size - _TAG - place - _INNER.size - len(payload)
    for piece in (_INNER.pack(codec, bytes(7), length, len(payload)), payload, _ZEROS[:padding]):
        place += encryptor.update_into(piece, view[place:])
    encryptor.finalize()
    view[place:] = encryptor.tag
    view.release()
    return sealed


def _open(
    repository: str, name: str, data: bytes, input_key: bytes, public: bytes, reader_public: bytes, limit: int
) -> Opened:
    start = header.FRAME_LENGTH + _SALT + _COMMITMENT + len(public)
    if len(data) % _STEP or len(data) < start + _INNER.size + _TAG:
        raise ObjectCorrupt(f"is {len(data)} bytes long, which no sealed object is: it was cut off")
    if len(data) > _padded(start, limit + limit // 128 + 1024):  # a frame of zstd can be longer than what is in it
        raise ObjectCorrupt(f"is {len(data)} bytes long, more than its {limit} bytes of content can need")
    salt = data[header.FRAME_LENGTH : header.FRAME_LENGTH + _SALT]
    key, nonce, commitment = _derived(repository, name, input_key, salt, public, reader_public)
    if not hmac.compare_digest(commitment, data[header.FRAME_LENGTH + _SALT :][:_COMMITMENT]):
        raise ObjectCorrupt("was not sealed for this repository under this name, or its head is damaged")
    decryptor = Cipher(algorithms.AES(key), modes.GCM(nonce)).decryptor()
    decryptor.authenticate_additional_data(data[:start] + _names(repository, name))
    end = len(data) - _TAG
    plain = bytearray(len(data) - start)  # the library wants a little more room than there is text
    decryptor.update_into(memoryview(data)[start:end], plain)
    try:
        decryptor.finalize_with_tag(data[end:])
    except InvalidTag as error:
        raise ObjectCorrupt("its seal is broken") from error
    codec, zero, length, payload_length = _INNER.unpack_from(plain)
    text_end = end - start
    payload_end = _INNER.size + payload_length
    # Whoever holds the write key can seal nonsense.
    if any(zero) or codec not in (header.RAW, header.ZSTD) or _padded(start, payload_length) != len(data):
        raise ObjectCorrupt(f"has a payload of {payload_length} bytes, codec {codec}, which cannot be")
    if plain.count(0, payload_end, text_end) != text_end - payload_end:
        raise ObjectCorrupt("is not filled up with zeros")
    return Opened(codec, length, memoryview(plain)[_INNER.size : payload_end])


def _derived(
    repository: str, name: str, input_key: bytes, salt: bytes, public: bytes, reader_public: bytes
) -> tuple[bytes, bytes, bytes]:
    info = b"backy 1 object\n" + _names(repository, name)
    if public:
        info += b"\n" + public + reader_public
    derived = HKDF(algorithm=SHA256(), length=76, salt=salt, info=info).derive(input_key)
    return derived[:32], derived[32:44], derived[44:]


def _names(repository: str, name: str) -> bytes:
    return f"{repository}\n{name}".encode()


def _padded(start: int, payload_length: int) -> int:
    return -(-(start + _INNER.size + payload_length + _TAG) // _STEP) * _STEP
