"""The contract of a metadata store: versions, block maps and chunk references, as the steps of one protocol.

The steps keep four invariants, on which the safety of `cleanup` beside running backups rests:

1. every committed map row that names a chunk names an existing chunk (a foreign key in the database);
2. a chunk exists only after its object was durable: `publish` is called after `Store.sync` has returned;
3. a key becomes a chunk at most once: its nonce is fresh, and `plan` recorded it as an upload before the put began;
4. `Store.delete` is only given keys that `doomed_keys` returned. A key is doomed only by the transaction that takes it
   away from its chunk, or when it lost the race to be one, or when the session that uploaded it is fenced. The keys of
   segments' pieces are doomed in the same ways. The one exception are the `keys_of` a version in state `removing`.

Whatever the store is to say about versions is decided here first, in one transaction that also raises the generation,
and then put: the fence (`fences`), then the object (`promises`, `pending_attributes`). A run that is killed in between
leaves what the next run puts, word for word. So a database is never behind the store unless it was put back from an
older copy, and then its generation shows it.

No clock carries safety. Every step is one or more short transactions; none is open across a call to the store, and
each is sized so that a single writer's lock is held for tens of milliseconds. A process may be killed between any two.

Every step that takes a session first checks, in its transaction, that the session is still open, and raises
`SessionFenced` otherwise: a process that was judged dead must not write on. Judging wrongly costs that process its run,
never data.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from backy_core.contracts.meta_takeover import MetaTakeover
from backy_core.contracts.meta_values import (
    MOST_PLANNED,
    MOST_PUBLISHED,
    MOST_TAKEN,
    MOST_VIEWED,
    CleanupStep,
    Fence,
    Found,
    MetaCounters,
    NewChunk,
    PendingAttributes,
    Promise,
    PublishResult,
    PurgeStep,
    Reaped,
    Usage,
    Writing,
)
from backy_core.model import (
    NO_ATTRIBUTES,
    Attributes,
    BackupStatistics,
    Chunk,
    MappedBlock,
    RepositoryFacts,
    Segment,
    Version,
)

__all__ = [
    "MOST_PLANNED",
    "MOST_PUBLISHED",
    "MOST_TAKEN",
    "MOST_VIEWED",
    "CleanupStep",
    "Fence",
    "Found",
    "MetaCounters",
    "MetaStore",
    "NewChunk",
    "PendingAttributes",
    "Promise",
    "PublishResult",
    "PurgeStep",
    "Reaped",
    "Usage",
    "Writing",
]


class MetaStore(MetaTakeover):
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
        """The current generation, 0 after `initialise`. It never goes back."""

    @abstractmethod
    def fences(self) -> list[Fence]:
        """The generations begun and not confirmed yet, by whatever run, ascending; each has a random token."""

    @abstractmethod
    def fences_stored(self, session: int, generations: Sequence[int]) -> None:
        """The objects of these generations are durable in the store."""

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

        An interrupted version of this volume with the same size, block size and base, and without a promised manifest,
        is continued under its own uid (`source` and `identity` are updated; `position` is kept only if `identity` is
        not None and equals the old one).
        Other interrupted versions of the volume, promised ones aside, are purged first.

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

    # -- the version's description in the store --------------------------------------------------------------------

    @abstractmethod
    def segments(self, version: Version) -> list[Segment]:
        """The segments of the version's map, oldest first; of one being written, those linked so far."""

    @abstractmethod
    def count_entries(self, version: Version, since: tuple[int, int] | None) -> int:
        """How many rows `entries` goes through: not less than what it gives."""

    @abstractmethod
    def entries(self, version: Version, since: tuple[int, int] | None) -> Iterator[tuple[int, bytes | None]]:
        """What the version holds (a digest, or None for a hole) at every index that has a row younger than `since`.

        `since` is a lineage of the version's chain and a birth in it; rows of the lineages that descend from it towards
        the version are all younger. None, or a lineage outside of the chain (the version was taken over to a place of
        its own since): every row of the chain. Ascending, read in windows, indexes beyond the version's end included.
        """

    @abstractmethod
    def link_segments(self, session: int, version: Version, segments: Sequence[Segment]) -> None:
        """Begin the version's list of segments with these of another version's; what was linked before is let go."""

    @abstractmethod
    def plan_pieces(self, session: int, version: Version, digests: Sequence[bytes]) -> list[bytes]:
        """Record the uploads of pieces, at most 64; a fresh nonce for each."""

    @abstractmethod
    def publish_segment(self, session: int, version: Version, segment: Segment) -> Segment:
        """Append a segment, whose pieces are durable and were planned by this session, to the version's list."""

    @abstractmethod
    def mark_segment_bad(self, session: int, segment: Segment) -> None:
        """Record that a piece of it was found damaged: no other version is to build on it."""

    @abstractmethod
    def promise_version(
        self,
        session: int,
        version: Version,
        *,
        finished: datetime,
        statistics: BackupStatistics,
        manifest: bytes,
        digest: bytes,
        attributes: Attributes = NO_ATTRIBUTES,
    ) -> None:
        """Fix the content of the version's manifest and its first attributes, and raise the generation.

        From here on it can only be finished, by this run or any later one: it is neither continued nor purged.
        """

    @abstractmethod
    def promises(self) -> list[Promise]:
        """The promised versions that are not finished and whose session is over, oldest first."""

    @abstractmethod
    def finish_version(self, session: int, version: Version) -> Version:
        """Its manifest is durable: make it `valid`, or `invalid` when it uses a bad chunk; unpins its base.

        For the session that writes it, and for any session once that one is over. One that is finished already is
        returned as it is. Raises `InternalError` for a version that was not promised.
        """

    # -- attributes ------------------------------------------------------------------------------------------------

    @abstractmethod
    def set_attributes(self, session: int, uid: str, attributes: Attributes) -> int:
        """Give a finished version new attributes, and raise the generation; the serial of the object to put for them.

        Those that came with its manifest have the serial 0. Raises `NotFound` for a version that is not finished.
        """

    @abstractmethod
    def pending_attributes(self) -> list[PendingAttributes]:
        """The newest attributes of each version whose object is not confirmed yet, by whatever run they were set."""

    @abstractmethod
    def attributes_stored(self, session: int, uid: str, serial: int) -> None:
        """The object of these attributes is durable; the keys of those before it are doomed."""

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
        """Set a version `removing`, for good, and raise the generation.

        Raises `NotFound`, `VersionBusy` when it is pinned or being written, `Guarded` when it is protected. An
        interrupted version may be removed, too, and by its own session the one that is being written. One that is
        `removing` already is no error.
        """

    @abstractmethod
    def keys_of(self, uid: str) -> list[str]:
        """The keys of the manifest and all attributes that a version has or may have; they go before it is purged."""

    @abstractmethod
    def purge(self, session: int, uid: str, limit: int = 512) -> PurgeStep:
        """Delete up to `limit` map rows that only `removing` versions see, queueing their chunks; call until `done`.

        With s the version, p and t the nearest survivors around it (versions not `removing`, and births that other
        lineages branch from), a row born in (p, t] goes when a younger row for its index was born in (p, t]; if there
        is no t, every row born after p goes. The last step deletes the version itself, and its lineage when empty.
        Safe to repeat, to interrupt, and to run for neighbours at the same time. With the version go the segments that
        no other version lists; the keys of their pieces are doomed.
        """

    # -- cleanup -------------------------------------------------------------------------------------------------

    @abstractmethod
    def next_generation(self, session: int, at_least: int = 0) -> int:
        """Raise the generation by one, and above `at_least`, durably, and return it."""

    @abstractmethod
    def doom_chunks(self, session: int, limit: int = 128) -> CleanupStep:
        """Take up to `limit` chunks from the queue; delete those that no map row uses and doom their keys.

        Locks first, tests in a second statement (a one-statement form loses data on PostgreSQL).
        """

    @abstractmethod
    def doom_keys(self, session: int, keys: Sequence[str]) -> None:
        """Doom keys that never were chunks or pieces: old generation objects."""

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
