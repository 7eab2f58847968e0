"""Sessions: one row per run, and what is cleared up after a run that is over or taken for dead."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from backy_core.contracts.meta import Reaped
from backy_meta_sql.dooming import doom, upload_key
from backy_meta_sql.rows import inserted, instant_text, wanted

__all__ = ["all_sessions", "clear_up", "open_session"]

# An upload that was found in the store and taken for a chunk's or a piece's object meanwhile is none any more.
_UPLOADS = wanted(
    "SELECT u.kind, u.digest, u.nonce FROM uploads u WHERE u.session IN :sessions"
    " AND NOT EXISTS (SELECT 1 FROM chunks c WHERE u.kind = 'c' AND c.digest = u.digest AND c.nonce = u.nonce)"
    " AND NOT EXISTS (SELECT 1 FROM pieces p WHERE u.kind = 'm' AND p.digest = u.digest AND p.nonce = u.nonce)",
    "sessions",
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
    uploads = connection.execute(_UPLOADS, these).all()
    doom(connection, [upload_key(row.kind, bytes(row.digest), bytes(row.nonce)) for row in uploads])
    connection.execute(wanted("DELETE FROM uploads WHERE session IN :sessions", "sessions"), these)
    interrupted = connection.execute(
        wanted("SELECT uid FROM versions WHERE session IN :sessions ORDER BY id", "sessions"), these
    ).scalars()
    uids = tuple(interrupted)
    # The database lets the pins go with the row and takes it off the versions.
    gone = connection.execute(wanted("DELETE FROM sessions WHERE id IN :sessions", "sessions"), these).rowcount
    return Reaped(gone, len(uploads), uids)
