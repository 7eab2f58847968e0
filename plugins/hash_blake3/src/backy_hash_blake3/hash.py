"""BLAKE3 by the package blake3, one thread for each call."""

from __future__ import annotations

from blake3 import blake3

from backy_core.contracts.hash import Hash
from backy_core.model import Buffer

__all__ = ["Blake3Hash"]


class Blake3Hash(Hash):
    """BLAKE3, 256 bits, not keyed. It holds no state between calls, so all threads may share one object."""

    name = "blake3"
    digest_size = 32

    def digest(self, *parts: Buffer) -> bytes:
        """The digest of the parts one after another; the interpreter lock is free during long parts."""
        # The package could split a part over threads of its own; the core's threads keep all processors busy already.
        state = blake3(max_threads=1)
        for part in parts:
            state.update(part)
        return state.digest()
