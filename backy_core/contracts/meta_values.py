"""The values that a metadata store takes and gives, and how much one call may carry."""

from __future__ import annotations

from dataclasses import dataclass, field

from backy_core.model import Attributes, Chunk, Version

__all__ = [
    "MOST_PLANNED",
    "MOST_PUBLISHED",
    "MOST_TAKEN",
    "MOST_VIEWED",
    "CleanupStep",
    "Fence",
    "Found",
    "MetaCounters",
    "NewChunk",
    "PendingAttributes",
    "Promise",
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

MOST_TAKEN = 4096
"""Rows, objects or digests in one call of `take_rows`, `take_found` and `find_chunks`, at most.

Many, because each call waits for the disk once; while a database is made anew nobody waits for the writer's turn."""


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


@dataclass(frozen=True, slots=True)
class Fence:
    """A generation that the metadata store has begun and whose object may not be in the store yet."""

    generation: int
    token: str


@dataclass(frozen=True, slots=True)
class Promise:
    """A version whose manifest is fixed and which nobody is finishing. `manifest`: its content, word for word."""

    version: Version
    manifest: bytes


@dataclass(frozen=True, slots=True)
class PendingAttributes:
    """Attributes that the metadata store has and that may not be in the store yet."""

    uid: str
    serial: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Found:
    """What the metadata store knows of objects that were found in the store.

    `known`: the numbers of chunks that lie under these very keys, those included that had no object until now.
    `others`: objects with the digest of a chunk that lies under another key. `unknown`: no chunk has this digest.
    """

    known: tuple[int, ...] = ()
    others: tuple[tuple[Chunk, NewChunk], ...] = ()
    unknown: tuple[NewChunk, ...] = ()
