"""What every use case works with: one open repository's parts."""

from __future__ import annotations

from dataclasses import dataclass

from backy_core.chunks import ChunkReader
from backy_core.contracts.hash import Hash
from backy_core.contracts.meta import MetaStore
from backy_core.contracts.store import Store
from backy_core.model import RepositoryFacts
from backy_core.objects.envelope import Envelope
from backy_core.pipeline import buffer_count

__all__ = ["Engine"]


@dataclass(frozen=True, slots=True)
class Engine:
    """The open parts of a repository. `workers`: threads to work with; `memory`: bytes a run may occupy."""

    facts: RepositoryFacts
    meta: MetaStore
    store: Store
    hash: Hash
    envelope: Envelope
    workers: int
    memory: int

    @property
    def chunks_ahead(self) -> int:
        """How many chunks may be read ahead of their use: enough to keep the threads busy, within the memory."""
        return max(2, min(2 * self.workers, buffer_count(self.memory, self.facts.block_size) // 2))

    def reader(self) -> ChunkReader:
        """Reads chunks of this repository."""
        return ChunkReader(self.store, self.meta, self.hash, self.envelope)
