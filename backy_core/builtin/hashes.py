"""The hash functions of hashlib as a plugin: sha512, sha256 and blake2b."""

from __future__ import annotations

import hashlib
import hmac
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
    """A hash function of hashlib. It holds no state between calls, so all threads may share one object.

    `start` begins a calculation, `start_keyed` one that is keyed.
    """

    def __init__(self, name: str, start: Callable[[], _State], start_keyed: Callable[[bytes], _State]) -> None:
        self.name = name
        self._start = start
        self._start_keyed = start_keyed
        self.digest_size = start().digest_size

    def digest(self, *parts: Buffer) -> bytes:
        """The digest of the parts one after another; the interpreter lock is free during parts over 2047 bytes."""
        state = self._start()
        for part in parts:
            state.update(part)
        return state.digest()

    def keyed(self, key: bytes) -> Hash:
        """HMAC with the SHA-2 functions, BLAKE2b by its own key."""
        start_keyed = self._start_keyed
        return HashlibHash(self.name, lambda: start_keyed(key), start_keyed)


# 32 bytes are all that collision resistance of 128 bits needs; the full 64 only lengthen every key and row.
_blake2b = partial(hashlib.blake2b, digest_size=32)

_STARTS: dict[str, tuple[Callable[[], _State], Callable[[bytes], _State]]] = {
    "sha512": (hashlib.sha512, partial(hmac.new, digestmod="sha512")),
    "sha256": (hashlib.sha256, partial(hmac.new, digestmod="sha256")),
    "blake2b": (_blake2b, lambda key: _blake2b(key=key)),
}


@hookimpl
def new_hash(name: str) -> Hash | None:
    """The hash function of that name, or None when this module has none."""
    starts = _STARTS.get(name)
    return HashlibHash(name, *starts) if starts else None
