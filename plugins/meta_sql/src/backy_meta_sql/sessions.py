"""Sessions: one row per run, and what is cleared up after a run that is over or taken for dead."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from backy_core.contracts.meta import Reaped
from backy_core.model import chunk_key
from backy_meta_sql.rows import execute_many, inserted, instant_text, wanted

__all__ = ["all_sessions", "clear_up", "doom", "open_session"]

_DOOM = text(
    "INSERT INTO doomed (key, generation) SELECT :key, r.generation FROM repository r WHERE true ON CONFLICT DO NOTHING"
)


def open_session(connection: Connection, command: str, now: datetime) -> int:
    """Register a run of `command` by this process; its number."""
    values = {"command": command, "host": platform.node(), "pid": os.getpid(), "started": instant_text(now)}
    return inserted(connection, "sessions", values)


def all_sessions(connection: Connection) -> list[int]:
    """The numbers of all sessions, whether their processes live or not."""
    return list(connection.execute(text("SELECT id FROM sessions ORDER BY id")).scalars())


def clear_up(connection: Connection, sessions: Sequence[int]) -> Reaped:
    """Fence these sessions: doom their uploads, drop their pins, leave their unfinished versions interrupted.

    Sessions that are gone already are passed over.
    """
    these = {"sessions": list(sessions)}
    uploads = connection.execute(
        wanted("SELECT digest, nonce FROM uploads WHERE session IN :sessions", "sessions"), these
    ).all()
    doom(connection, [chunk_key(bytes(row.digest), bytes(row.nonce)) for row in uploads])
    connection.execute(wanted("DELETE FROM uploads WHERE session IN :sessions", "sessions"), these)
    interrupted = connection.execute(
        wanted("SELECT uid FROM versions WHERE session IN :sessions ORDER BY id", "sessions"), these
    ).scalars()
    uids = tuple(interrupted)
    # The database lets the pins go with the row and takes it off the versions.
    gone = connection.execute(wanted("DELETE FROM sessions WHERE id IN :sessions", "sessions"), these).rowcount
    return Reaped(gone, len(uploads), uids)


def doom(connection: Connection, keys: Sequence[str]) -> None:
    """These keys may be deleted from the store once a generation above the current one has begun."""
    execute_many(connection, _DOOM, [{"key": key} for key in keys])
