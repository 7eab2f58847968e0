"""The hash functions of hashlib as a plugin: sha512, sha256 and blake2b."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Protocol

from backy_core.contracts.hash import Hash
from backy_core.hooks import hookimpl
from backy_core.model import Buffer

__all__ = ["HashlibHash", "new_hash"]


class _State(Protocol):
    @property
    def digest_size(self) -> int: ...

    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...


class HashlibHash(Hash):
    """A hash function of hashlib. It holds no state between calls, so all threads may share one object."""

    def __init__(self, name: str, start: Callable[[], _State]) -> None:
        self.name = name
        self._start = start
        self.digest_size = start().digest_size

    def digest(self, *parts: Buffer) -> bytes:
        """The digest of the parts one after another; the interpreter lock is free during parts over 2047 bytes."""
        state = self._start()
        for part in parts:
            state.update(part)
        return state.digest()


_STARTS: dict[str, Callable[[], _State]] = {
    "sha512": hashlib.sha512,
    "sha256": hashlib.sha256,
    # 32 bytes are all that collision resistance of 128 bits needs; the full 64 only lengthen every key and row.
    "blake2b": partial(hashlib.blake2b, digest_size=32),
}


@hookimpl
def new_hash(name: str) -> Hash | None:
    """The hash function of that name, or None when this module has none."""
    start = _STARTS.get(name)
    return HashlibHash(name, start) if start else None
