"""The generation: raised by whatever changes what the store says, and remembered until its object is in the store."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from sqlalchemy import Connection, text

from backy_core.contracts.meta import Fence
from backy_core.errors import RepositoryError
from backy_meta_sql.rows import execute_many

__all__ = ["fences", "fences_stored", "raise_generation"]

_TOKEN_LENGTH = 16


def raise_generation(connection: Connection, at_least: int = 0) -> int:
    """Begin the next generation, one above `at_least` too, in the caller's transaction; its number."""
    # The update first: it locks the row, so that no two writers read the same number.
    raised = connection.execute(
        text("UPDATE repository SET generation = CASE WHEN generation < :least THEN :least ELSE generation END + 1"),
        {"least": at_least},
    ).rowcount
    if not raised:
        raise RepositoryError("this metadata database holds no repository yet; make one with `backy init`")
    generation = int(connection.execute(text("SELECT generation FROM repository")).scalar_one())
    connection.execute(
        text("INSERT INTO fences (generation, token) VALUES (:generation, :token)"),
        {"generation": generation, "token": secrets.token_hex(_TOKEN_LENGTH)},
    )
    return generation


def fences(connection: Connection) -> list[Fence]:
    """See `MetaStore.fences`."""
    rows = connection.execute(text("SELECT generation, token FROM fences ORDER BY generation"))
    return [Fence(row.generation, row.token) for row in rows]


def fences_stored(connection: Connection, generations: Sequence[int]) -> None:
    """See `MetaStore.fences_stored`."""
    statement = text("DELETE FROM fences WHERE generation = :generation")
    execute_many(connection, statement, [{"generation": number} for number in generations])
