"""Turns puts that have ended into durable chunks and mapped blocks, in batches, beside the reading of what follows.

The order that protects data stands here: every put of a batch has returned, then `Store.sync`, then
`MetaStore.publish`. Batches are published one after another, so a block may refer to a chunk of an earlier batch.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from backy_core.contracts.meta import MOST_PUBLISHED, MetaStore, NewChunk, PublishResult
from backy_core.contracts.store import Store
from backy_core.model import Version

__all__ = ["Publisher"]

_ENOUGH = MOST_PUBLISHED // 2
"""Blocks that make a batch worth publishing. One group of blocks more still fits into one `publish`, which keeps a
chunk and the first block that refers to it in one transaction: killed in between, nobody would clean the chunk up."""

_BATCHES_WAITING = 2
"""Published batches may lag behind reading by so many; what they hold in memory is digests, not data."""


@dataclass(slots=True)
class _Batch:
    """Puts under way, and the blocks that wait for them or for those of earlier batches."""

    puts: list[Future[NewChunk]] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    blocks: list[tuple[int, bytes]] = field(default_factory=list)
    position: int = 0


class Publisher:
    """Publishes for one version. One thread calls it; its own thread waits, syncs and publishes."""

    def __init__(self, meta: MetaStore, store: Store, session: int, version: Version) -> None:
        self._meta = meta
        self._store = store
        self._session = session
        self._version = version
        self._batch = _Batch()
        self._storing: set[bytes] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="backy-publish")
        self._waiting: deque[Future[PublishResult]] = deque()
        self._result = PublishResult()
        self._failed: BaseException | None = None

    def is_storing(self, digest: bytes) -> bool:
        """A chunk with this digest is on its way, so a block that holds it needs no upload of its own."""
        return digest in self._storing

    def map(self, index: int, digest: bytes) -> None:
        """The block holds content that is on its way, or is about to be."""
        self._batch.blocks.append((index, digest))

    def store(self, digest: bytes, put: Future[NewChunk]) -> None:
        """This put will make a chunk with this digest."""
        self._batch.puts.append(put)
        self._batch.digests.append(digest)
        self._storing.add(digest)

    def dealt_with(self, position: int) -> None:
        """Every block below this index is unchanged, mapped, or in a batch."""
        self._batch.position = position

    def publish_when_due(self) -> None:
        """Hand the batch to the publishing thread when it is large enough; raise what went wrong with earlier ones."""
        self.check()
        if len(self._batch.blocks) >= _ENOUGH:
            self._hand_over()

    def check(self) -> None:
        """Raise what went wrong with earlier batches, if anything did."""
        while self._waiting and (self._waiting[0].done() or len(self._waiting) > _BATCHES_WAITING):
            found = self._waiting.popleft().result()
            was = self._result
            self._result = PublishResult(was.new + found.new, was.lost + found.lost, was.healed + found.healed)

    def finish(self) -> PublishResult:
        """Publish what is left, wait for everything, and say what became of it."""
        if self._batch.puts or self._batch.blocks:
            self._hand_over()
        while self._waiting:
            self._waiting[0].exception()
            self.check()
        return self._result

    def _hand_over(self) -> None:
        batch, self._batch = self._batch, _Batch(position=self._batch.position)
        self._waiting.append(self._thread.submit(self._publish, batch))

    def _publish(self, batch: _Batch) -> PublishResult:
        # What one batch has lost may be what a later one builds on: objects that the store dropped together, chunks
        # that blocks refer to, the position. So after a failure nothing is published any more.
        if self._failed is not None:
            raise self._failed
        try:
            return self._publish_next(batch)
        except BaseException as error:
            self._failed = error
            raise

    def _publish_next(self, batch: _Batch) -> PublishResult:
        chunks = [put.result() for put in batch.puts]
        if chunks:
            self._store.sync()
        result = self._meta.publish(self._session, self._version, chunks, batch.blocks, batch.position)
        # Only now: until the rows are there, `plan` would not find these chunks and upload them again.
        self._storing.difference_update(batch.digests)
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=error is not None)
