"""BLAKE3 by the package blake3, one thread for each call."""

from __future__ import annotations

from collections.abc import Callable

from blake3 import blake3

from backy_core.contracts.hash import Hash
from backy_core.model import Buffer

__all__ = ["Blake3Hash"]


class Blake3Hash(Hash):
    """BLAKE3, 256 bits. It holds no state between calls, so all threads may share one object."""

    name = "blake3"
    digest_size = 32

    def __init__(self, start: Callable[[], blake3] | None = None) -> None:
        # The package could split a part over threads of its own; the core's threads keep all processors busy already.
        self._start = start or (lambda: blake3(max_threads=1))

    def digest(self, *parts: Buffer) -> bytes:
        """The digest of the parts one after another; the interpreter lock is free during long parts."""
        state = self._start()
        for part in parts:
            state.update(part)
        return state.digest()

    def keyed(self, key: bytes) -> Hash:
        """BLAKE3 in its keyed mode; the key has 32 bytes."""
        return Blake3Hash(lambda: blake3(key=key, max_threads=1))
