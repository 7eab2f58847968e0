"""The contract of a hash function: bytes in, digest out."""

from __future__ import annotations

from abc import ABC, abstractmethod

from backy_core.errors import PluginError
from backy_core.model import Buffer

__all__ = ["Hash"]


class Hash(ABC):
    """A collision-resistant hash function. One object serves all threads of a run.

    `name` is what `backy init --hash` takes and what the repository records; the same name must give the same digests
    for ever. `digest_size` is the length of a digest in bytes, at least 32.
    """

    name: str
    digest_size: int

    @abstractmethod
    def digest(self, *parts: Buffer) -> bytes:
        """The digest of the parts one after another. Releases the interpreter lock for long parts, if it can."""

    def keyed(self, key: bytes) -> Hash:
        """The same function keyed with 32 bytes, for an encrypted repository: without the key nobody can tell whether
        a digest is that of a content he knows. Its digests have the same length. HMAC, or a keyed mode of its own.

        The default raises `PluginError`: this function cannot be used for an encrypted repository.
        """
        raise PluginError(
            f"the hash function {self.name} cannot be keyed; choose another with --hash for an encrypted repository"
        )
