"""The master key with all that is derived from it, and the write key for hosts that may write but not read."""

from __future__ import annotations

import os
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from backy_core.contracts.hash import Hash
from backy_core.objects.seals import MasterSeal, Seal, WriteSeal

__all__ = ["KEY_LENGTH", "MasterKey", "RepositoryKey", "WriteKey", "hkdf"]

KEY_LENGTH = 32


def hkdf(key: bytes, salt: bytes, info: bytes, length: int = KEY_LENGTH) -> bytes:
    """HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(key)


class RepositoryKey:
    """What a run needs of the keys: the keyed hash, and the seal. Shows itself to nobody; is not copied or stored."""

    __slots__ = ("_digest_key", "repository_id")

    can_read = True
    """Whether its seal opens what it sealed."""

    def __init__(self, repository_id: str, digest_key: bytes) -> None:
        self.repository_id = repository_id
        self._digest_key = digest_key

    def keyed(self, hash_: Hash) -> Hash:
        """The hash function as this repository uses it. Raises `PluginError` when it cannot be keyed."""
        return hash_.keyed(self._digest_key)

    def seal(self) -> Seal:
        """The seal for the repository's objects."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.repository_id}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a key is not copied or stored")


class MasterKey(RepositoryKey):
    """The 32 bytes from which every other key of the repository is derived."""

    __slots__ = ("_secret",)

    def __init__(self, repository_id: str, secret: bytes) -> None:
        if len(secret) != KEY_LENGTH:
            raise ValueError(f"a master key has {KEY_LENGTH} bytes")
        self._secret = secret
        self.repository_id = repository_id
        super().__init__(repository_id, self._derived("digest"))

    @classmethod
    def generate(cls, repository_id: str) -> MasterKey:
        """A fresh one."""
        return cls(repository_id, os.urandom(KEY_LENGTH))

    def secret(self) -> bytes:
        """The key itself, for key slots and recovery sheets."""
        return self._secret

    def seal(self) -> Seal:
        """Seals, and opens whatever was sealed for this repository by whom ever."""
        return MasterSeal(self.repository_id, self._sealing_key, self._derived("write"), self._reader())

    def write_key(self) -> WriteKey:
        """What a host gets that may write but not read."""
        public = self._reader().public_key().public_bytes_raw()
        return WriteKey(self.repository_id, self._digest_key, self._derived("write"), public)

    def _sealing_key(self, epoch: int) -> bytes:
        return self._derived(f"seal {epoch}")

    def _reader(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self._derived("reader"))

    def _derived(self, label: str) -> bytes:
        return hkdf(self._secret, self.repository_id.encode(), f"backy 1 {label}".encode())


class WriteKey(RepositoryKey):
    """Digest key, write key and the reader's public key: enough to back up, not enough to read anything back."""

    __slots__ = ("_reader_public", "_write_key")

    can_read = False

    def __init__(self, repository_id: str, digest_key: bytes, write_key: bytes, reader_public: bytes) -> None:
        if {len(digest_key), len(write_key), len(reader_public)} != {KEY_LENGTH}:
            raise ValueError(f"each of the keys has {KEY_LENGTH} bytes")
        super().__init__(repository_id, digest_key)
        self._write_key = write_key
        self._reader_public = reader_public

    def parts(self) -> tuple[bytes, bytes, bytes]:
        """Digest key, write key, reader's public key, for the file they are kept in."""
        return self._digest_key, self._write_key, self._reader_public

    def seal(self) -> Seal:
        """Seals for the holder of the master key; opens nothing."""
        return WriteSeal(self.repository_id, self._write_key, self._reader_public)
