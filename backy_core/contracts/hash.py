"""The contract of a hash function: bytes in, digest out."""

from __future__ import annotations

from abc import ABC, abstractmethod

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
