"""Finds what a version holds: its own rows and, where it has none, those of the lineages it descends from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, text

from backy_core.contracts.meta import MOST_VIEWED
from backy_core.errors import InternalError
from backy_core.model import MappedBlock, Version
from backy_meta_sql.rows import slices, to_chunk

__all__ = ["Chain", "Chains", "bad_indexes", "latest", "own_indexes", "view"]

Chain = tuple[tuple[int, int | None], ...]
"""A lineage and those it descends from, nearest first, each with the last birth seen of it (None: the asker's)."""

# One descent of the map's primary key per index asked for, however many births the index has.
_LATEST = (
    " SELECT m.idx, m.birth, m.chunk, c.digest, c.nonce, c.stored_size, c.bad"
    " FROM asked CROSS JOIN map m LEFT JOIN chunks c ON c.id = m.chunk"
    " WHERE m.lineage = :lineage AND m.idx = asked.idx AND m.birth ="
    " (SELECT max(x.birth) FROM map x WHERE x.lineage = :lineage AND x.idx = asked.idx AND x.birth <= :bound)"
)
_IN_RANGE = text(
    "WITH RECURSIVE asked (idx) AS (SELECT :low UNION ALL SELECT idx + 1 FROM asked WHERE idx < :high)" + _LATEST
)
_OWN = text(
    "SELECT idx FROM map WHERE lineage = :lineage AND birth = :birth AND idx > :after AND idx < :count"
    " ORDER BY idx LIMIT :window"
)
# CROSS JOIN keeps SQLite from starting at the other end, which is the whole map.
_ROWS_OF_BAD = text(
    "SELECT DISTINCT m.idx FROM chunks c CROSS JOIN map m"
    " WHERE c.bad = 1 AND m.chunk = c.id AND m.lineage = :lineage AND m.birth <= :bound AND m.idx < :count"
)


class Chains:
    """The chain of each lineage. A lineage's parent never changes and no number is given twice: looked up once."""

    def __init__(self) -> None:
        self._known: dict[int, Chain] = {}

    def of(self, connection: Connection, lineage: int) -> Chain:
        """The chain that starts at `lineage`."""
        known = self._known.get(lineage)
        if known is None:
            known = tuple(_climb(connection, lineage))
            self._known[lineage] = known
        return known

    def forget(self, lineage: int) -> None:
        """Look this one up again: it was made just now."""
        self._known.pop(lineage, None)

    def bounds(self, connection: Connection, version: Version) -> list[tuple[int, int]]:
        """The lineages a version sees, nearest first, each with the last birth seen of it."""
        chain = self.of(connection, version.lineage)
        return [(lineage, version.birth if bound is None else bound) for lineage, bound in chain]


def view(
    connection: Connection, version: Version, bounds: Sequence[tuple[int, int]], indexes: range | Sequence[int]
) -> dict[int, MappedBlock]:
    """See `MetaStore.view`."""
    inside = [index for index in indexes if 0 <= index < version.block_count]
    return latest(connection, version, bounds, inside)


def latest(
    connection: Connection, version: Version, bounds: Sequence[tuple[int, int]], indexes: Sequence[int]
) -> dict[int, MappedBlock]:
    """What `view` finds, also beyond the version's end."""
    if len(indexes) > MOST_VIEWED:
        raise InternalError(f"a view of {len(indexes)} blocks was asked for; {MOST_VIEWED} is the most")
    if not indexes:
        return {}
    found: dict[int, MappedBlock] = {}
    for lineage, bound in bounds:
        for row in _latest_rows(connection, lineage, bound, indexes):
            if row.idx not in found:
                chunk = None if row.chunk is None else to_chunk(row)
                own = lineage == version.lineage and row.birth == version.birth
                found[row.idx] = MappedBlock(row.idx, row.birth, chunk, own)
    return dict(sorted(found.items()))


def own_indexes(connection: Connection, version: Version, after: int, window: int) -> list[int]:
    """The next block indexes above `after` that have a row of the version's own birth."""
    values = {
        "lineage": version.lineage,
        "birth": version.birth,
        "after": after,
        "count": version.block_count,
        "window": window,
    }
    return list(connection.execute(_OWN, values).scalars())


def bad_indexes(connection: Connection, version: Version, bounds: Sequence[tuple[int, int]]) -> list[int]:
    """See `MetaStore.bad_indexes`. Starts from the bad chunks' rows, so it costs nothing where there are none."""
    suspects: set[int] = set()
    for lineage, bound in bounds:
        values = {"lineage": lineage, "bound": bound, "count": version.block_count}
        suspects.update(connection.execute(_ROWS_OF_BAD, values).scalars())
    bad: list[int] = []
    for some in slices(sorted(suspects), MOST_VIEWED):
        # A row of a bad chunk may lie hidden under a younger one.
        blocks = latest(connection, version, bounds, some)
        bad.extend(index for index, block in blocks.items() if block.chunk is not None and block.chunk.bad)
    return bad


def _latest_rows(connection: Connection, lineage: int, bound: int, indexes: Sequence[int]) -> Sequence[Row[Any]]:
    low, high = min(indexes), max(indexes)
    if high - low + 1 == len(indexes):
        values = {"lineage": lineage, "bound": bound, "low": low, "high": high}
        return connection.execute(_IN_RANGE, values).all()
    # Numbers written out, as there may be more than a server takes parameters; not kept among compiled statements.
    asked = ", ".join(f"({int(index)})" for index in indexes)
    return connection.execute(
        text(f"WITH asked (idx) AS (VALUES {asked}){_LATEST}"),
        {"lineage": lineage, "bound": bound},
        execution_options={"compiled_cache": None},
    ).all()


def _climb(connection: Connection, lineage: int) -> list[tuple[int, int | None]]:
    chain: list[tuple[int, int | None]] = []
    step: int | None = lineage
    bound: int | None = None
    while step is not None:
        chain.append((step, bound))
        row = connection.execute(
            text("SELECT parent, parent_birth FROM lineages WHERE id = :lineage"), {"lineage": step}
        ).one_or_none()
        step, bound = (None, None) if row is None else (row.parent, row.parent_birth)
    return chain
