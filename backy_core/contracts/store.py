"""The contract of a store: where objects live, each one byte string under one key, written once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from backy_core.model import Buffer

__all__ = ["KEY_PATTERN", "MAX_KEY_LENGTH", "DeleteFailure", "ObjectInfo", "Store", "check_key"]

MAX_KEY_LENGTH = 200
"""Characters. Long enough for `c/hh/<128 hex>-<16 hex>`, short enough for any file system below a deep folder."""

KEY_PATTERN = r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*"
"""Lower case only (some stores fold case), no empty part, no part that starts with a dot (`.`, `..`, hidden files)."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """A key and the length in bytes of its object."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class DeleteFailure:
    """A key that `delete` could not delete, and why. An object that is not there is no failure."""

    key: str
    reason: str


class Store(ABC):
    """An object store for one repository.

    *Concurrency.* All methods may be called from several threads at once; the core keeps at most `parallel_requests`
    calls in flight.

    *Names.* Keys match `KEY_PATTERN`. The core never gives two different contents one key.

    *Errors.* `StoreError` (with `again`) when the store cannot be reached or refuses; it must never be confused with
    `ObjectMissing`, which is a statement that the object is not there. `OutOfSpace` when a disk or quota is full. An
    SDK's own error stays as `__cause__`. No message contains a secret.

    `location` is the store's URL without secrets.
    """

    location: str
    parallel_requests: int = 4

    @abstractmethod
    def put(self, key: str, parts: Sequence[Buffer], *, urgent: bool = False) -> None:
        """Create the object `key` from the parts, one after another.

        Create-only: raises `ObjectExists` when there is one already, and leaves it alone. Atomic: no reader, not even
        after a power cut, ever finds part of an object. Every byte is written or an error raised; a short write is an
        error. **Durable, and visible to readers, after the next `sync()` returns**, or sooner.
        A buffer may be reused by the caller as soon as `put` returns. `urgent` marks a small object without which no
        space can be freed: a store that keeps a reserve for a full disk may spend it.
        """

    def sync(self) -> None:
        """Make every object whose `put` returned before this call durable and visible; raise if one cannot be.

        When it raises, none of the objects put since the last `sync` may be relied on; the caller writes them again
        under new keys. The default does nothing: for stores whose `put` is durable at once.
        """
        return None

    @abstractmethod
    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """The object's bytes, or `length` of them from `offset`. A range that ends beyond the object is cut there.

        Raises `ObjectMissing`; `ObjectUnreadable` when this object alone cannot be read; never returns fewer bytes
        than the store says there are.
        """

    @abstractmethod
    def size(self, key: str) -> int:
        """Length of the object in bytes; raises `ObjectMissing`."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix`, in no promised order, each once.

        Objects put or deleted meanwhile may or may not appear. Files that are no objects (temporary ones) never do.
        The core never decides from a listing that something may be deleted.
        """

    @abstractmethod
    def delete(self, keys: Sequence[str]) -> Sequence[DeleteFailure]:
        """Delete the objects and whatever unfinished writes of them were left behind. Absent ones count as deleted.

        Returns those that could not be deleted; raises `StoreError` when the store cannot be reached at all.
        """

    def close(self) -> None:
        """Give back connections, threads and files. Called once; no other call follows."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_key(key: str) -> None:
    """Raise `InternalError` unless `key` is a legal key: a driver calls it before a key becomes a path or a URL."""
    import re

    from backy_core.errors import InternalError

    if len(key) > MAX_KEY_LENGTH or not re.fullmatch(KEY_PATTERN, key):
        raise InternalError(f"{key!r} is no legal object key")
