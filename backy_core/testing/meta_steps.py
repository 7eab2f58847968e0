"""The steps that tests of a metadata store are written in: begin, write, back up, look, remove, clean."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from backy_core.contracts.meta import MetaStore, NewChunk, PublishResult, Writing
from backy_core.model import (
    NO_ATTRIBUTES,
    Attributes,
    BackupStatistics,
    Chunk,
    RepositoryFacts,
    Segment,
    SegmentPiece,
    Version,
    VersionState,
)

__all__ = [
    "BLOCK",
    "FACTS",
    "NOW",
    "Contents",
    "Rows",
    "add_segment",
    "backup",
    "begin",
    "chunk_of",
    "clean",
    "described",
    "digest",
    "expected",
    "finish",
    "interrupt",
    "promise",
    "remove",
    "rows",
    "shown",
    "take_over",
    "write",
]

BLOCK = 4096
NOW = datetime(2026, 11, 23, 3, 0, 0, 123456, tzinfo=UTC)
FACTS = RepositoryFacts("0123456789abcdef", 1, "blake3", BLOCK, NOW)

Contents = dict[int, str | None]
Rows = list[tuple[int, bytes | None]]


def digest(content: str) -> bytes:
    """The digest of a made-up content."""
    return sha256(content.encode()).digest()


def begin(meta: MetaStore, session: int, volume: str = "vm-1", blocks: int = 8, **more: Any) -> Writing:
    """Begin a version with the values that most tests do not care about."""
    values: dict[str, Any] = {"block_size": BLOCK, "source": "file:///a", "identity": None, "base_uid": None}
    return meta.begin_version(session, volume=volume, size=blocks * BLOCK, created=NOW, **(values | more))


def write(meta: MetaStore, session: int, version: Version, contents: Contents) -> PublishResult:
    """Plan and publish these blocks, as a backup does that puts every missing chunk."""
    blocks = [(index, None if content is None else digest(content)) for index, content in contents.items()]
    missing = meta.plan(session, version, blocks)
    chunks = [NewChunk(name, nonce, 100) for name, nonce in missing.items()]
    mapped = [(index, name) for index, name in blocks if name is not None and name in missing]
    return meta.publish(session, version, chunks, mapped)


def backup(meta: MetaStore, contents: Contents, volume: str = "vm-1", blocks: int = 8, **more: Any) -> Version:
    """A whole backup in a session of its own."""
    session = meta.open_session("backup")
    version = begin(meta, session, volume, blocks, **more).version
    write(meta, session, version, contents)
    finished = finish(meta, session, version)
    meta.close_session(session)
    return finished


def promise(
    meta: MetaStore,
    session: int,
    version: Version,
    statistics: BackupStatistics = BackupStatistics(),  # noqa: B008  it is frozen
    attributes: Attributes = NO_ATTRIBUTES,
) -> bytes:
    """Fix a made-up manifest; its content."""
    manifest = f"manifest of {version.uid}".encode()
    meta.promise_version(
        session,
        version,
        finished=NOW,
        statistics=statistics,
        manifest=manifest,
        digest=sha256(manifest).digest(),
        attributes=attributes,
    )
    return manifest


def finish(meta: MetaStore, session: int, version: Version, attributes: Attributes = NO_ATTRIBUTES) -> Version:
    """Promise and finish, as a backup does that puts the manifest in between."""
    promise(meta, session, version, attributes=attributes)
    return meta.finish_version(session, version)


def add_segment(
    meta: MetaStore, session: int, version: Version, name: str = "piece", since: int = 0, pieces: int = 2
) -> Segment:
    """Plan and publish a segment of made-up pieces, as a backup does that puts them in between."""
    digests = [digest(f"{name} {number}") for number in range(pieces)]
    nonces = meta.plan_pieces(session, version, digests)
    made = [SegmentPiece(*names, 50, number) for number, names in enumerate(zip(digests, nonces, strict=True))]
    return meta.publish_segment(session, version, Segment(version.lineage, since, pieces, tuple(made)))


def described(uid: str, lineage: int = 7, birth: int = 1, **more: object) -> Version:
    """A version as a manifest describes it."""
    values: dict[str, object] = {
        "volume": "vm-1",
        "state": VersionState.VALID,
        "size": 8 * BLOCK,
        "block_size": BLOCK,
        "created": NOW,
        "finished": NOW,
        "source": "file:///a",
        "manifest": digest(f"manifest {uid}"),
        "statistics": BackupStatistics(read_bytes=5),
    }
    return Version(uid * 16, lineage=lineage, birth=birth, **(values | more))  # type: ignore[arg-type]


def rows(contents: Contents) -> Rows:
    """These contents as a map's rows, ascending."""
    return sorted(expected(contents).items())


def take_over(
    meta: MetaStore,
    session: int,
    version: Version,
    rows: Sequence[tuple[int, bytes | None]],
    segments: Sequence[Segment] = (),
    serial: int = 0,
) -> Version:
    """Place a version, write its rows and make it visible."""
    placed = meta.place_version(session, version)
    for start in range(0, len(rows), 3):
        meta.take_rows(session, placed, rows[start : start + 3])
    return meta.take_version(session, placed, segments, serial)


def interrupt(meta: MetaStore, contents: Contents, **more: Any) -> Version:
    """A backup that ended before it was finished."""
    session = meta.open_session("backup")
    version = begin(meta, session, **more).version
    write(meta, session, version, contents)
    meta.close_session(session)
    return version


def shown(meta: MetaStore, version: Version, indexes: range | Sequence[int] = range(64)) -> dict[int, bytes | None]:
    """What a version shows: index -> digest, None for a hole that has a row."""
    blocks = meta.view(version, indexes)
    return {index: None if block.chunk is None else block.chunk.digest for index, block in blocks.items()}


def expected(contents: Contents) -> dict[int, bytes | None]:
    """These contents in the shape of `shown`."""
    return {index: None if content is None else digest(content) for index, content in contents.items()}


def remove(meta: MetaStore, *versions: Version, limit: int = 512) -> None:
    """Remove and purge versions, in a session of its own."""
    session = meta.open_session("rm")
    for version in versions:
        meta.remove_version(session, version.uid)
    for version in versions:
        while not meta.purge(session, version.uid, limit).done:
            pass
    meta.close_session(session)


def clean(meta: MetaStore) -> list[str]:
    """Doom all unused chunks; the keys that may be deleted once the generation has been raised."""
    session = meta.open_session("cleanup")
    generation = meta.next_generation(session)
    while meta.doom_chunks(session).examined:
        pass
    meta.close_session(session)
    return meta.doomed_keys(generation + 1)


def chunk_of(meta: MetaStore, content: str) -> Chunk:
    """The chunk of a content that must be there."""
    found = meta.chunk(digest(content))
    assert found is not None
    return found
