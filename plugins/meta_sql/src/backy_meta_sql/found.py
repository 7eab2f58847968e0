"""Compares the objects that were found in the store with what the database knows of them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from backy_core.contracts.meta import MOST_TAKEN, Found, NewChunk
from backy_core.errors import InternalError
from backy_core.model import Chunk, chunk_key, piece_key
from backy_meta_sql.dooming import NO_OBJECT, doom, undoom
from backy_meta_sql.rows import execute_many, slices, to_chunk, wanted

__all__ = ["chunks", "doom_orphans", "find_chunks", "move", "take_found"]

_COLUMNS = "SELECT id AS chunk, digest, nonce, stored_size, bad FROM chunks"
_FIND = wanted(f"{_COLUMNS} WHERE digest IN :digests", "digests")
_NEXT = text(f"{_COLUMNS} WHERE id > :after ORDER BY id LIMIT :limit")
_MOVE = text("UPDATE chunks SET nonce = :nonce, stored_size = :stored_size, bad = 0 WHERE id = :id")
_SLICE = 512
_SOURCES = {
    "c": ("chunks WHERE", "uploads WHERE kind = 'c' AND"),
    "m": ("pieces WHERE", "uploads WHERE kind = 'm' AND"),
}
_NAMED = {
    kind: [wanted(f"SELECT digest, nonce FROM {source} digest IN :digests", "digests") for source in sources]
    for kind, sources in _SOURCES.items()
}
_KEY = {"c": chunk_key, "m": piece_key}


def chunks(connection: Connection, after: int, limit: int) -> list[Chunk]:
    """See `MetaTakeover.chunks`."""
    return [to_chunk(row) for row in connection.execute(_NEXT, {"after": after, "limit": limit})]


def find_chunks(connection: Connection, digests: Sequence[bytes]) -> dict[bytes, Chunk]:
    """See `MetaTakeover.find_chunks`."""
    if len(digests) > MOST_TAKEN:
        raise InternalError(f"{len(digests)} chunks were looked for at once; {MOST_TAKEN} is the most")
    if not digests:
        return {}
    rows = connection.execute(_FIND, {"digests": sorted(set(digests))})
    return {chunk.digest: chunk for chunk in map(to_chunk, rows)}


def take_found(connection: Connection, objects: Sequence[NewChunk]) -> Found:
    """See `MetaTakeover.take_found`."""
    if len(objects) > MOST_TAKEN:
        raise InternalError(f"{len(objects)} objects were looked at at once; {MOST_TAKEN} is the most")
    there = find_chunks(connection, [found.digest for found in objects])
    known: list[int] = []
    others: list[tuple[Chunk, NewChunk]] = []
    unknown: list[NewChunk] = []
    moved: list[Chunk] = []
    for found in objects:
        chunk = there.get(found.digest)
        if chunk is None:
            unknown.append(found)
            continue
        if chunk.nonce == NO_OBJECT:
            chunk = there[found.digest] = Chunk(chunk.id, found.digest, found.nonce, found.stored_size)
            moved.append(chunk)
        if chunk.nonce == found.nonce:
            known.append(chunk.id)
        else:
            others.append((chunk, found))
    _record(connection, moved)
    return Found(tuple(known), tuple(others), tuple(unknown))


def move(connection: Connection, found: NewChunk) -> None:
    """See `MetaTakeover.move_chunk`."""
    chunk = find_chunks(connection, [found.digest]).get(found.digest)
    if chunk is None:
        raise InternalError(f"there is no chunk for {chunk_key(found.digest, found.nonce)}; nothing was moved")
    if chunk.nonce not in (NO_OBJECT, found.nonce):
        doom(connection, [chunk.key])
    _record(connection, [Chunk(chunk.id, found.digest, found.nonce, found.stored_size)])


def doom_orphans(connection: Connection, keys: Sequence[str]) -> int:
    """See `MetaTakeover.doom_orphans`. Those that were doomed before are not counted; a name that is not one of backy's
    own is left alone."""
    wrong = [key for key in keys if not key.startswith(("c/", "m/"))]
    if wrong:
        raise InternalError(f"{wrong[0]} is no key of a chunk or a piece; it is nobody's orphan")
    doomed = 0
    for kind, own in _NAMED.items():
        names = [name for name in (_name(kind, key) for key in keys if key[0] == kind) if name is not None]
        for some in slices(names, _SLICE):
            digests = {"digests": sorted({digest for digest, _ in some})}
            taken = {
                (bytes(row.digest), bytes(row.nonce)) for select in own for row in connection.execute(select, digests)
            }
            doomed += doom(connection, [_KEY[kind](*name) for name in dict.fromkeys(some) if name not in taken])
    return doomed


def _record(connection: Connection, moved: Sequence[Chunk]) -> None:
    values = [{"id": chunk.id, "nonce": chunk.nonce, "stored_size": chunk.stored_size} for chunk in moved]
    execute_many(connection, _MOVE, values)
    undoom(connection, [chunk.key for chunk in moved])


def _name(kind: str, key: str) -> tuple[bytes, bytes] | None:
    digest, _, nonce = key.rpartition("/")[2].partition("-")
    try:
        name = bytes.fromhex(digest), bytes.fromhex(nonce)
    except ValueError:
        return None
    return name if _KEY[kind](*name) == key else None
