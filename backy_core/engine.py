"""What every use case works with: one open repository's parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backy_core.chunks import ChunkReader
from backy_core.contracts.hash import Hash
from backy_core.contracts.meta import MetaStore
from backy_core.contracts.store import Store
from backy_core.model import RepositoryFacts
from backy_core.objects.envelope import Envelope
from backy_core.pipeline import buffer_count, worker_count
from backy_core.settings import RepositorySettings, compression_level

if TYPE_CHECKING:
    from backy_core.encryption.keys import RepositoryKey
    from backy_core.plugins import Plugins

__all__ = ["Engine", "make_engine"]


@dataclass(frozen=True, slots=True)
class Engine:
    """The open parts of a repository. `workers`: threads to work with; `memory`: bytes a run may occupy.

    `can_read` False: this host holds a key that seals and does not open.
    """

    facts: RepositoryFacts
    meta: MetaStore
    store: Store
    hash: Hash
    envelope: Envelope
    workers: int
    memory: int
    can_read: bool = True

    @property
    def chunks_ahead(self) -> int:
        """How many chunks may be read ahead of their use: enough to keep the threads busy, within the memory."""
        return max(2, min(2 * self.workers, buffer_count(self.memory, self.facts.block_size) // 2))

    def reader(self) -> ChunkReader:
        """Reads chunks of this repository."""
        return ChunkReader(self.store, self.meta, self.hash, self.envelope)


def make_engine(
    plugins: Plugins,
    settings: RepositorySettings,
    facts: RepositoryFacts,
    meta: MetaStore,
    store: Store,
    unlock: Callable[[], RepositoryKey],
) -> Engine:
    """The engine of a repository whose parts are open. `unlock` is called for the key of an encrypted one only."""
    hash_: Hash = plugins.open("hash", facts.hash_name, "new_hash", name=facts.hash_name)
    seal, can_read = None, True
    if facts.encryption is not None:
        key = unlock()
        hash_, seal, can_read = key.keyed(hash_), key.seal(), key.can_read
    return Engine(
        facts=facts,
        meta=meta,
        store=store,
        hash=hash_,
        envelope=Envelope(hash_, compression_level(settings.compression), seal),
        workers=worker_count(settings.workers),
        memory=settings.memory,
        can_read=can_read,
    )
