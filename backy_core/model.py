"""The words of the field as frozen values: volumes, versions, blocks, chunks, extents, damage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

__all__ = [
    "DEFAULT_BLOCK_SIZE",
    "MAX_BLOCK_SIZE",
    "MIN_BLOCK_SIZE",
    "NONCE_LENGTH",
    "NO_ATTRIBUTES",
    "Attributes",
    "BackupStatistics",
    "Buffer",
    "Chunk",
    "Damage",
    "DamageKind",
    "Extent",
    "ExtentKind",
    "MappedBlock",
    "Protection",
    "RepositoryFacts",
    "Segment",
    "SegmentPiece",
    "Version",
    "VersionState",
    "attributes_key",
    "block_count",
    "block_length",
    "chunk_key",
    "manifest_key",
    "piece_key",
]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes handed inward. Nobody keeps one after the call that received it has returned."""

DEFAULT_BLOCK_SIZE = 4 * 1024 * 1024
MIN_BLOCK_SIZE = 4 * 1024
MAX_BLOCK_SIZE = 64 * 1024 * 1024
NONCE_LENGTH = 8
"""Bytes of randomness in an object's name. With them no name is ever used twice, so a late delete hits nothing."""


class VersionState(StrEnum):
    """`writing` -> `valid` <-> `invalid` (it uses a damaged chunk) -> `removing`. Nothing leaves `removing`."""

    WRITING = "writing"
    VALID = "valid"
    INVALID = "invalid"
    REMOVING = "removing"

    @property
    def is_finished(self) -> bool:
        """Its backup has come to its end and nothing removes it: it may be restored, scrubbed and be a base."""
        return self in (VersionState.VALID, VersionState.INVALID)


class ExtentKind(StrEnum):
    """What an extent says about its bytes."""

    DATA = "data"
    HOLE = "hole"
    CHANGED = "changed"


class DamageKind(StrEnum):
    """What reading a chunk back can find wrong with it."""

    MISSING = "missing"
    CORRUPT = "corrupt"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Extent:
    """A half-open byte range `[offset, offset + length)` with a kind. Lists of extents are sorted, without overlap."""

    offset: int
    length: int
    kind: ExtentKind = ExtentKind.DATA

    @property
    def end(self) -> int:
        """The first byte after the range."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class RepositoryFacts:
    """What `backy init` fixed for good, kept both in the metadata store and in the store's `config` object.

    `encryption`: None, or the name of the cipher that seals every object.
    """

    repository_id: str
    format: int
    hash_name: str
    block_size: int
    created: datetime
    encryption: str | None = None


@dataclass(frozen=True, slots=True)
class Protection:
    """Why a version must not be removed, who said so, and until when (None: until it is unprotected)."""

    reason: str = ""
    by: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Attributes:
    """What may change about a finished version. `tags` are sorted and unique; `expires`: when it may be let go."""

    tags: tuple[str, ...] = ()
    protected: Protection | None = None
    expires: datetime | None = None


NO_ATTRIBUTES = Attributes()


@dataclass(frozen=True, slots=True)
class BackupStatistics:
    """What one backup run did. Sizes in bytes; `stored_bytes` is what went to the store, compressed."""

    read_bytes: int = 0
    read_blocks: int = 0
    changed_blocks: int = 0
    new_chunks: int = 0
    new_bytes: int = 0
    stored_bytes: int = 0
    deduplicated_blocks: int = 0
    hole_blocks: int = 0
    healed_chunks: int = 0
    duration_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Version:
    """One backup of a volume. `lineage` and `birth` place it in the volume's chain; times are aware and UTC.

    `source` is the location it was read from, without secrets. `identity`: see `contracts.source.Source.identity`.
    `interrupted`: its state is `writing` but the process that wrote it is gone. `parent`: the lineage, and the birth in
    it, that its lineage branches from. `manifest`: the digest of its manifest's content; None until that is fixed.
    """

    uid: str
    volume: str
    state: VersionState
    size: int
    block_size: int
    lineage: int
    birth: int
    created: datetime
    finished: datetime | None = None
    source: str = ""
    identity: str | None = None
    base_uid: str | None = None
    interrupted: bool = False
    statistics: BackupStatistics | None = None
    parent: tuple[int, int] | None = None
    manifest: bytes | None = None
    attributes: Attributes = NO_ATTRIBUTES

    @property
    def block_count(self) -> int:
        """How many blocks the version has; the last may be partial."""
        return block_count(self.size, self.block_size)

    def block_length(self, index: int) -> int:
        """Length in bytes of the block `index`: the block size, or less for the last one."""
        return block_length(self.size, self.block_size, index)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Stored content as the metadata store knows it: its object is durable. `bad`: reading it back found damage."""

    id: int
    digest: bytes
    nonce: bytes
    stored_size: int
    bad: bool = False

    @property
    def key(self) -> str:
        """The key of the chunk's object in the store."""
        return chunk_key(self.digest, self.nonce)


@dataclass(frozen=True, slots=True)
class SegmentPiece:
    """One object of a segment, which is durable; `first` is the first block index in it."""

    digest: bytes
    nonce: bytes
    stored_size: int
    first: int

    @property
    def key(self) -> str:
        """The key of the object in the store."""
        return piece_key(self.digest, self.nonce)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece-wise stored part of a version's block map: all that was born in `lineage` after the birth `since`.

    It also holds what was born in the lineages that branch from there, up to the version that it was written for.
    `entries` counts the block indexes it has. `id` is the metadata store's number for it, 0 as long as it has none.
    `bad`: reading one of its pieces back found damage.
    """

    lineage: int
    since: int
    entries: int
    pieces: tuple[SegmentPiece, ...]
    id: int = 0
    bad: bool = False


@dataclass(frozen=True, slots=True)
class MappedBlock:
    """A block of a version and what it holds. `chunk` None is a hole. `birth`: when this content came."""

    index: int
    birth: int
    chunk: Chunk | None
    own: bool
    """The row belongs to the version asked about, not to an ancestor."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Something wrong with stored data: which chunk, how, and (when known) which byte ranges of which version."""

    kind: DamageKind
    key: str
    reason: str
    version_uid: str | None = None
    extents: tuple[Extent, ...] = ()


def block_count(size: int, block_size: int) -> int:
    """How many blocks of `block_size` bytes a volume of `size` bytes has, a partial last one included."""
    return -(-size // block_size)


def block_length(size: int, block_size: int, index: int) -> int:
    """Length in bytes of block `index` of a volume of `size` bytes."""
    return min(block_size, size - index * block_size)


def chunk_key(digest: bytes, nonce: bytes) -> str:
    """The store key of a chunk: `c/<first two hex digits>/<digest>-<nonce>`."""
    name = digest.hex()
    return f"c/{name[:2]}/{name}-{nonce.hex()}"


def piece_key(digest: bytes, nonce: bytes) -> str:
    """The store key of a piece of a segment: `m/<digest>-<nonce>`."""
    return f"m/{digest.hex()}-{nonce.hex()}"


def manifest_key(uid: str) -> str:
    """The store key of a version's manifest."""
    return f"v/{uid}"


def attributes_key(uid: str, serial: int) -> str:
    """The store key of a version's attributes; the highest serial counts."""
    return f"a/{uid}.{serial}"
