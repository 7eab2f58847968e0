"""Chunks found bad or whole again, and which versions that makes invalid or valid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

from backy_core.model import Chunk, Version, VersionState
from backy_meta_sql.rows import execute_many, read_versions, slices, wanted

__all__ = ["mark", "refresh", "users"]

_SLICE = 512
_FOUND = wanted("SELECT id, digest, nonce, bad FROM chunks WHERE digest IN :digests", "digests")
_BAD = text("SELECT id FROM chunks WHERE bad = 1")
_ROWS = wanted(
    "SELECT m.lineage, m.idx, m.birth, (SELECT min(n.birth) FROM map n"
    " WHERE n.lineage = m.lineage AND n.idx = m.idx AND n.birth > m.birth) AS next FROM map m WHERE m.chunk IN :chunks",
    "chunks",
)
_FIRST = text("SELECT min(birth) FROM map WHERE lineage = :lineage AND idx = :idx")
_VERSIONS = text(
    "SELECT v.id, v.birth, v.size, l.block_size FROM versions v JOIN lineages l ON l.id = v.lineage"
    " WHERE v.lineage = :lineage"
)
_CHILDREN = text("SELECT id, parent_birth FROM lineages WHERE parent = :lineage")
_SET_STATE = text("UPDATE versions SET state = :new WHERE id = :id AND state = :old")


def mark(connection: Connection, chunks: Sequence[Chunk], *, bad: bool) -> list[Version]:
    """Record these chunks as bad, or as good; the versions whose state changed by it, oldest first.

    A chunk that has another nonce by now is left alone.
    """
    changed: list[int] = []
    for some in slices(chunks, _SLICE):
        nonces = {chunk.digest: chunk.nonce for chunk in some}
        found = connection.execute(_FOUND, {"digests": list(nonces)})
        changed += [row.id for row in found if nonces[bytes(row.digest)] == bytes(row.nonce) and bool(row.bad) != bad]
    values = [{"id": number, "bad": int(bad)} for number in changed]
    execute_many(connection, text("UPDATE chunks SET bad = :bad WHERE id = :id"), values)
    if not changed:
        return []
    touched = users(connection, changed)
    if bad:
        return _set_states(connection, invalid=touched, valid=set())
    return _set_states(connection, invalid=set(), valid=touched - users(connection, _all_bad(connection)))


def refresh(connection: Connection) -> list[Version]:
    """See `MetaStore.refresh_states`."""
    damaged = users(connection, _all_bad(connection))
    states = connection.execute(text("SELECT id, state FROM versions WHERE state IN ('valid', 'invalid')")).all()
    invalid = {row.id for row in states if row.state == VersionState.VALID.value and row.id in damaged}
    valid = {row.id for row in states if row.state == VersionState.INVALID.value and row.id not in damaged}
    return _set_states(connection, invalid=invalid, valid=valid)


def users(connection: Connection, chunks: Iterable[int]) -> set[int]:
    """The numbers of the versions that show one of these chunks in one of their blocks.

    Goes from the chunks' rows to the versions that see them; the cost is in the rows, not in the size of any map.
    """
    tree = _Tree(connection)
    found: set[int] = set()
    for some in slices(chunks, _SLICE):
        for row in connection.execute(_ROWS, {"chunks": some}):
            found.update(tree.seers(row))
    return found


class _Tree:
    """The lineages and versions around the rows in question, each looked up once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._versions: dict[int, list[tuple[int, int, int]]] = {}
        self._children: dict[int, list[tuple[int, int]]] = {}

    def seers(self, row: Row[Any]) -> Iterator[int]:
        """The versions that see this row, whose content is replaced from the birth `next` on."""
        yield from self._seers(row.lineage, row.idx, row.birth, row.next)

    def _seers(self, lineage: int, index: int, first: int, end: int | None) -> Iterator[int]:
        for number, birth, count in self._versions_of(lineage):
            if first <= birth and (end is None or birth < end) and index < count:
                yield number
        for child, birth in self._children_of(lineage):
            if first <= birth and (end is None or birth < end):
                hidden = self._connection.execute(_FIRST, {"lineage": child, "idx": index}).scalar_one()
                yield from self._seers(child, index, 0, hidden)

    def _versions_of(self, lineage: int) -> list[tuple[int, int, int]]:
        if lineage not in self._versions:
            rows = self._connection.execute(_VERSIONS, {"lineage": lineage})
            self._versions[lineage] = [(row.id, row.birth, -(-row.size // row.block_size)) for row in rows]
        return self._versions[lineage]

    def _children_of(self, lineage: int) -> list[tuple[int, int]]:
        if lineage not in self._children:
            rows = self._connection.execute(_CHILDREN, {"lineage": lineage})
            self._children[lineage] = [(row.id, row.parent_birth) for row in rows]
        return self._children[lineage]


def _all_bad(connection: Connection) -> list[int]:
    return list(connection.execute(_BAD).scalars())


def _set_states(connection: Connection, *, invalid: set[int], valid: set[int]) -> list[Version]:
    changed: list[int] = []
    for numbers, old, new in (
        (invalid, VersionState.VALID, VersionState.INVALID),
        (valid, VersionState.INVALID, VersionState.VALID),
    ):
        for number in sorted(numbers):
            values = {"id": number, "old": old.value, "new": new.value}
            if connection.execute(_SET_STATE, values).rowcount:
                changed.append(number)
    if not changed:
        return []
    listed = ", ".join(str(number) for number in changed)
    return [version for version, _ in read_versions(connection, f"WHERE v.id IN ({listed})")]
