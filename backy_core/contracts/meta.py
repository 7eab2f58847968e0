"""The contract of a metadata store: versions, block maps and chunk references, as the steps of one protocol.

The steps keep four invariants, on which the safety of `cleanup` beside running backups rests:

1. every committed map row that names a chunk names an existing chunk (a foreign key in the database);
2. a chunk exists only after its object was durable: `publish` is called after `Store.sync` has returned;
3. a key becomes a chunk at most once: its nonce is fresh, and `plan` recorded it as an upload before the put began;
4. `Store.delete` is only given keys that `doomed_keys` returned. A key is doomed only by the transaction that takes it
   away from its chunk, or when it lost the race to be one, or when the session that uploaded it is fenced.

No clock carries safety. Every step is one or more short transactions; none is open across a call to the store, and
each is sized so that a single writer's lock is held for tens of milliseconds. A process may be killed between any two.

Every step that takes a session first checks, in its transaction, that the session is still open, and raises
`SessionFenced` otherwise: a process that was judged dead must not write on. Judging wrongly costs that process its run,
never data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self

from backy_core.model import BackupStatistics, Chunk, MappedBlock, RepositoryFacts, Version

__all__ = [
    "MOST_PLANNED",
    "MOST_PUBLISHED",
    "MOST_VIEWED",
    "CleanupStep",
    "MetaCounters",
    "MetaStore",
    "NewChunk",
    "PublishResult",
    "PurgeStep",
    "Reaped",
    "Usage",
    "Writing",
]


MOST_PLANNED = 64
"""Blocks in one call of `plan`, at most."""

MOST_PUBLISHED = 128
"""Chunks, and blocks, in one call of `publish`, at most."""

MOST_VIEWED = 1024
"""Indexes in one call of `view`, at most."""


@dataclass(slots=True)
class MetaCounters:
    """What one open metadata store has done, for tests and `--debug`. Times in seconds."""

    statements: int = 0
    transactions: int = 0
    map_rows_written: int = 0
    longest_wait: float = 0.0
    """The longest a writer waited for its turn."""
    longest_held: float = 0.0
    """The longest a write transaction was open."""


@dataclass(frozen=True, slots=True)
class Writing:
    """A version being written. `continued`: an interrupted run's rows are kept; `position`: see `publish`."""

    version: Version
    base: Version | None
    continued: bool = False
    position: int = 0


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk whose object is durable under `chunk_key(digest, nonce)`; `stored_size` is the object's length."""

    digest: bytes
    nonce: bytes
    stored_size: int


@dataclass(frozen=True, slots=True)
class PublishResult:
    """How many chunks became new, lost the race to another writer (their objects are doomed), healed a bad one."""

    new: int = 0
    lost: int = 0
    healed: int = 0


@dataclass(frozen=True, slots=True)
class Reaped:
    """What was cleared up after dead processes: sessions fenced, upload keys doomed, versions left interrupted."""

    sessions: int = 0
    uploads: int = 0
    interrupted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PurgeStep:
    """One step of removing a version's rows. `deferred`: the next younger version is still being written, so the rest
    has to wait for it; nothing is lost by waiting."""

    rows: int
    done: bool
    deferred: bool = False


@dataclass(frozen=True, slots=True)
class CleanupStep:
    """One step of dooming unreferenced chunks; `examined` 0 means that the queue is empty."""

    examined: int
    doomed: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Totals of a repository; bytes are those of the stored objects."""

    versions: int = 0
    chunks: int = 0
    stored_bytes: int = 0
    bad_chunks: int = 0
    queued_chunks: int = 0
    doomed_keys: int = 0
    uploads: int = 0
    map_rows: int = field(default=0)


class MetaStore(ABC):
    """A transactional database for one repository. All methods may be called from several threads at once.

    `location` is its URL without secrets. Errors: `MetaError` when it cannot be reached or is damaged, `OutOfSpace`
    when its disk is full, `SessionFenced` as described above.
    """

    location: str
    counters: MetaCounters

    # -- the repository ------------------------------------------------------------------------------------------

    @abstractmethod
    def initialise(self, facts: RepositoryFacts) -> None:
        """Record what `init` fixed. Raises `RepositoryError` when a repository is already recorded here."""

    @abstractmethod
    def facts(self) -> RepositoryFacts:
        """What `initialise` recorded; raises `RepositoryError` when nothing was."""

    @abstractmethod
    def generation(self) -> int:
        """The current generation, 0 after `initialise`; only `next_generation` raises it."""

    @abstractmethod
    def usage(self) -> Usage:
        """Totals, counted now; may take time linear in the number of chunks."""

    # -- sessions ------------------------------------------------------------------------------------------------

    @abstractmethod
    def open_session(self, command: str) -> int:
        """Register this run of a command and hold its liveness (a lock that the kernel drops when the process dies).

        Reaps first, so that what a killed process left behind is out of the way of the new one.
        """

    @abstractmethod
    def close_session(self, session: int) -> None:
        """The run is over, well or not: its pins go, its uploads are doomed, its unfinished version is interrupted."""

    @abstractmethod
    def reap(self) -> Reaped:
        """Fence the sessions whose process is dead, as `close_session` would have; any process may do it, any time."""

    # -- writing a version ---------------------------------------------------------------------------------------

    @abstractmethod
    def begin_version(
        self,
        session: int,
        *,
        volume: str,
        size: int,
        block_size: int,
        source: str,
        identity: str | None,
        base_uid: str | None,
        created: datetime,
    ) -> Writing:
        """Start, or continue, the writing of a version of `volume`; pins its base.

        The base is `base_uid` (finished, of this block size, else `InvalidInput`), or the volume's newest finished
        version of this block size, or none.

        An interrupted version of this volume with the same size, block size and base is continued under its own uid
        (`source` and `identity` are updated; `position` is kept only if `identity` is not None and equals the old one).
        Other interrupted versions of the volume are purged first.

        When the base is the newest version of its lineage and of this volume, the new version gets that lineage's
        next birth. Otherwise (older base, another writer at work, another volume) it starts a lineage whose parent is
        the base; without a base, a lineage without parent. No chain of parents is longer than three: a deeper one is
        flattened by copying the base's rows into a lineage of its own.

        Where the base is larger than `size`, hole rows are written for its blocks beyond the new end, so that growing
        again never shows old data.
        """

    @abstractmethod
    def view(self, version: Version, indexes: range | Sequence[int]) -> dict[int, MappedBlock]:
        """What the version holds at these block indexes (ascending), own rows and inherited ones.

        An index that was never written is absent: a hole, like one whose `chunk` is None. Indexes at or beyond the
        version's end are absent. One statement per lineage in the chain, however many indexes (at most 1024) are asked.
        """

    @abstractmethod
    def own_indexes(self, version: Version) -> Iterator[int]:
        """The block indexes that have a row of this version's own birth, ascending; read in windows."""

    @abstractmethod
    def bad_indexes(self, version: Version) -> list[int]:
        """The block indexes of the version whose chunk is bad, ascending."""

    @abstractmethod
    def plan(self, session: int, version: Version, blocks: Sequence[tuple[int, bytes | None]]) -> dict[bytes, bytes]:
        """Take up changed blocks, at most 64, each an index with its digest or None for a hole.

        Holes and blocks whose digest is a known good chunk are mapped at once, at the version's own birth. For every
        other digest an upload is recorded: the answer maps it to the fresh nonce under which its object is to be put.
        A row that this version had already written at an index is replaced.
        """

    @abstractmethod
    def publish(
        self,
        session: int,
        version: Version,
        chunks: Sequence[NewChunk],
        blocks: Sequence[tuple[int, bytes]],
        position: int = 0,
    ) -> PublishResult:
        """Turn uploads that are durable into chunks and map the blocks that hold them, at most 128 of each.

        Where another writer published the same digest first, its chunk is used and the own key doomed; where the known
        chunk is bad, it takes over the new nonce and is good again (that heals every version that uses it) and the old
        key is doomed. `position`: every block below this index has been dealt with; it never goes back.
        """

    @abstractmethod
    def finish_version(self, session: int, version: Version, statistics: BackupStatistics) -> Version:
        """Make it `valid`, or `invalid` when it uses a bad chunk; unpins its base. Returns it as it now is."""

    # -- finding versions ----------------------------------------------------------------------------------------

    @abstractmethod
    def versions(self, volume: str | None = None) -> list[Version]:
        """All versions in any state (of one volume), oldest first: in the order in which they began."""

    @abstractmethod
    def find_uid(self, prefix: str) -> list[Version]:
        """The versions whose uid starts with `prefix`, at most ten, oldest first."""

    # -- reading a version ---------------------------------------------------------------------------------------

    @abstractmethod
    def pin(self, session: int, uid: str) -> Version:
        """Hold a version against removal until the session closes. Raises `NotFound` when it is gone or going."""

    @abstractmethod
    def unpin(self, session: int, uid: str) -> None:
        """Let go of what `pin` held. A version that this session does not hold is no error."""

    @abstractmethod
    def chunk(self, digest: bytes) -> Chunk | None:
        """The chunk with this digest as it is now: a reader that missed an object asks again before it gives up."""

    @abstractmethod
    def mark_bad(self, session: int, chunks: Sequence[Chunk]) -> list[Version]:
        """Record that reading these back found damage; returns the versions that became `invalid` by it.

        A chunk whose nonce has changed since was healed meanwhile and is left alone.
        """

    @abstractmethod
    def mark_good(self, session: int, chunks: Sequence[Chunk]) -> list[Version]:
        """Record that chunks marked bad were read back whole (a sick disk recovered); versions that became `valid`."""

    @abstractmethod
    def refresh_states(self, session: int) -> list[Version]:
        """Make every finished version `invalid` if it uses a bad chunk, else `valid`; returns those that changed."""

    # -- removing ------------------------------------------------------------------------------------------------

    @abstractmethod
    def remove_version(self, session: int, uid: str) -> Version:
        """Set a version `removing`, for good. Raises `NotFound`, or `VersionBusy` when it is pinned or being written.

        An interrupted version may be removed, too, and by its own session the one that is being written. One that is
        `removing` already is no error.
        """

    @abstractmethod
    def purge(self, session: int, uid: str, limit: int = 512) -> PurgeStep:
        """Delete up to `limit` map rows that only `removing` versions see, queueing their chunks; call until `done`.

        With s the version, p and t the nearest survivors around it (versions not `removing`, and births that other
        lineages branch from), a row born in (p, t] goes when a younger row for its index was born in (p, t]; if there
        is no t, every row born after p goes. The last step deletes the version itself, and its lineage when empty.
        Safe to repeat, to interrupt, and to run for neighbours at the same time.
        """

    # -- cleanup -------------------------------------------------------------------------------------------------

    @abstractmethod
    def next_generation(self, session: int) -> int:
        """Raise the generation by one, durably, and return it. The caller then creates its `gens/` object."""

    @abstractmethod
    def doom_chunks(self, session: int, limit: int = 128) -> CleanupStep:
        """Take up to `limit` chunks from the queue; delete those that no map row uses and doom their keys.

        Locks first, tests in a second statement (a one-statement form loses data on PostgreSQL).
        """

    @abstractmethod
    def doom_keys(self, session: int, keys: Sequence[str]) -> None:
        """Doom keys that never were chunks: old generation objects."""

    @abstractmethod
    def doomed_keys(self, before_generation: int, limit: int = 1000) -> list[str]:
        """Keys doomed in a generation below this one: they may be deleted from the store."""

    @abstractmethod
    def forget_doomed(self, session: int, keys: Sequence[str]) -> None:
        """These keys are gone from the store."""

    # -- life ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def close(self) -> None:
        """Close connections and drop liveness locks. Open sessions are left for the reaper."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
