"""Reads a chunk back and proves that it is what its name says."""

from __future__ import annotations

from backy_core.contracts.hash import Hash
from backy_core.contracts.meta import MetaStore
from backy_core.contracts.store import Store
from backy_core.errors import BackyError, ObjectCorrupt, ObjectMissing, ObjectUnreadable
from backy_core.model import Chunk, Damage, DamageKind
from backy_core.objects.envelope import Envelope

__all__ = ["ChunkDamaged", "ChunkReader"]


class ChunkDamaged(BackyError):
    """Carries a finding from where a chunk is read to where findings are collected; never reaches a caller."""

    def __init__(self, chunk: Chunk, damage: Damage) -> None:
        super().__init__(f"{damage.key}: {damage.reason}")
        self.chunk = chunk
        self.damage = damage


class ChunkReader:
    """Fetches chunks from one store. Any thread."""

    def __init__(self, store: Store, meta: MetaStore, hash_: Hash, envelope: Envelope) -> None:
        self._store = store
        self._meta = meta
        self._hash = hash_
        self._envelope = envelope

    def read(self, chunk: Chunk, length: int, *, thorough: bool = False) -> bytes:
        """The chunk's content of `length` bytes, its digest checked.

        The digest proves the content. `thorough` also looks for damage that does not change it yet, as a flipped bit
        in a compressed frame may not: what a scrub is for.

        Raises `ChunkDamaged` after a second look: the chunk may have been healed under another key meanwhile, and a
        read can go wrong on its way here. `StoreError` when the store cannot be reached: that says nothing about the
        chunk.
        """
        try:
            return self._fetch(chunk, length, thorough)
        except (ObjectMissing, ObjectCorrupt, ObjectUnreadable):
            now = self._meta.chunk(chunk.digest) or chunk
        try:
            return self._fetch(now, length, thorough)
        except ObjectMissing as error:
            raise _damaged(now, DamageKind.MISSING, "is not in the store") from error
        except ObjectCorrupt as error:
            raise _damaged(now, DamageKind.CORRUPT, str(error)) from error
        except ObjectUnreadable as error:
            raise _damaged(now, DamageKind.UNREADABLE, str(error)) from error

    def _fetch(self, chunk: Chunk, length: int, thorough: bool) -> bytes:
        data = self._store.get(chunk.key)
        content = self._envelope.unwrap(chunk.key, data, length, checked=thorough)
        if len(content) != length:
            raise ObjectCorrupt(f"holds {len(content)} bytes, not the {length} of its block")
        if self._hash.digest(content) != chunk.digest:
            raise ObjectCorrupt("its content does not have the digest in its name: another object lies in its place")
        return content


def _damaged(chunk: Chunk, kind: DamageKind, reason: str) -> ChunkDamaged:
    return ChunkDamaged(chunk, Damage(kind, chunk.key, reason))
