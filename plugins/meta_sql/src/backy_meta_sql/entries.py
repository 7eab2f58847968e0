"""Goes through the rows of a version's chain, whole or since a birth, and says what the version holds at each index.

The rows are those of the lineages from the version up to that of `since`, each up to the birth that the version sees of
it. Where one of them has a row for an index, the youngest such row of the nearest lineage is what the version holds:
older lineages need not be asked.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import merge
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, text

from backy_core.contracts.meta import MOST_VIEWED
from backy_core.model import Version
from backy_meta_sql.reading import latest

__all__ = ["COLLECTED", "Reader", "Stretch", "count", "entries", "stretches"]

T = TypeVar("T")

COLLECTED = 200_000
"""Up to so many rows may be found by their births, their indexes sorted in memory; more are met in order of index."""

_WORTH = 4
"""As many rows are met in order of index in the time that one takes that is found by its birth."""

_WINDOW = 4096
_NOWHERE = -1
_BEYOND = 2**62

_COUNT = text("SELECT count(*) FROM map WHERE lineage = :lineage AND birth > :low AND birth <= :high")
_MET = text("SELECT count(*) FROM (SELECT 1 FROM map WHERE lineage = :lineage LIMIT :limit) AS few")
_BORN = text(
    "SELECT birth, idx FROM map WHERE lineage = :lineage AND (birth, idx) > (:at_birth, :at_idx) AND birth <= :high"
    " ORDER BY birth, idx LIMIT :window"
)
# The filter on births names the column in an expression, lest the index by birth be taken, which is not in this order.
_WALK = text(
    "SELECT m.idx, m.birth, c.digest FROM map m LEFT JOIN chunks c ON c.id = m.chunk"
    " WHERE m.lineage = :lineage AND (m.idx, m.birth) > (:at_idx, :at_birth) AND m.birth + 0 > :low"
    " AND m.birth + 0 <= :high ORDER BY m.idx, m.birth LIMIT :window"
)


class Reader(Protocol):
    """Runs reading transactions."""

    def read(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns, from one unchanging view of the database."""
        ...


@dataclass(frozen=True, slots=True)
class Stretch:
    """The rows of a lineage that were born in `(low, high]`."""

    lineage: int
    low: int
    high: int


def stretches(version: Version, bounds: Sequence[tuple[int, int]], since: tuple[int, int] | None) -> list[Stretch]:
    """The rows younger than `since` in the chain with these bounds, nearest lineage first."""
    found: list[Stretch] = []
    for lineage, bound in bounds:
        if since is not None and lineage == since[0]:
            return [*found, Stretch(lineage, since[1], bound)]
        found.append(Stretch(lineage, 0, bound))
    return found


def count(connection: Connection, parts: Sequence[Stretch]) -> int:
    """How many rows these are."""
    total = 0
    for part in parts:
        values = {"lineage": part.lineage, "low": part.low, "high": part.high}
        total += int(connection.execute(_COUNT, values).scalar_one())
    return total


def entries(
    reader: Reader, version: Version, bounds: Sequence[tuple[int, int]], since: tuple[int, int] | None
) -> Iterator[tuple[int, bytes | None]]:
    """See `MetaStore.entries`. Each window is a transaction of its own."""
    parts = stretches(version, bounds, since)
    if reader.read(lambda c: _are_few(c, parts)):
        yield from _collected(reader, version, parts)
    elif len(parts) == 1:
        for index, _, digest in _walk(reader, parts[0], 0):
            yield index, digest
    else:
        before = _NOWHERE
        for index, _, digest in merge(*(_walk(reader, part, rank) for rank, part in enumerate(parts))):
            if index != before:
                yield index, digest
            before = index


def _are_few(connection: Connection, parts: Sequence[Stretch]) -> bool:
    """Whether to find these rows by their births: meeting them in order costs as much as their lineages are long."""
    rows = count(connection, parts)
    if rows > COLLECTED:
        return False
    most = _WORTH * rows
    met = 0
    for part in parts:
        values = {"lineage": part.lineage, "limit": most + 1 - met}
        met += int(connection.execute(_MET, values).scalar_one())
        if met > most:
            return True
    return False


def _collected(reader: Reader, version: Version, parts: Sequence[Stretch]) -> Iterator[tuple[int, bytes | None]]:
    indexes = array("q")
    for part in parts:
        at: tuple[int, int] | None = (part.low, _BEYOND)
        while at is not None:
            found = reader.read(partial(_born, part=part, at=at))
            indexes.extend(index for _, index in found)
            at = found[-1] if len(found) == _WINDOW else None
    distinct = array("q", sorted(set(indexes)))
    bounds = [(part.lineage, part.high) for part in parts]
    for start in range(0, len(distinct), MOST_VIEWED):
        some = distinct[start : start + MOST_VIEWED].tolist()
        blocks = reader.read(partial(latest, version=version, bounds=bounds, indexes=some))
        for index in some:
            # A row that is gone was one that nobody sees.
            block = blocks.get(index)
            if block is not None:
                yield index, None if block.chunk is None else block.chunk.digest


def _born(connection: Connection, part: Stretch, at: tuple[int, int]) -> list[tuple[int, int]]:
    values = {"lineage": part.lineage, "at_birth": at[0], "at_idx": at[1], "high": part.high, "window": _WINDOW}
    return [(row.birth, row.idx) for row in connection.execute(_BORN, values)]


def _walk(reader: Reader, part: Stretch, rank: int) -> Iterator[tuple[int, int, bytes | None]]:
    """The youngest row at each index, with the rank of its lineage: of equal indexes the nearest lineage's is less."""
    values = {"lineage": part.lineage, "low": part.low, "high": part.high, "window": _WINDOW}
    at_idx, at_birth = _NOWHERE, 0
    digest: bytes | None = None
    while True:
        rows = reader.read(partial(_window, values=values | {"at_idx": at_idx, "at_birth": at_birth}))
        for index, birth, name in rows:
            if index != at_idx and at_idx != _NOWHERE:
                yield at_idx, rank, digest
            at_idx, at_birth, digest = index, birth, name
        if len(rows) < _WINDOW:
            break
    if at_idx != _NOWHERE:
        yield at_idx, rank, digest


def _window(connection: Connection, values: dict[str, int]) -> Sequence[Any]:
    return connection.execute(_WALK, values).all()
