"""The list of keys that may be deleted from the store: puts keys on it, and takes back those that are in use again."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from backy_core.model import NONCE_LENGTH, chunk_key, piece_key
from backy_meta_sql.rows import execute_many

__all__ = ["NO_OBJECT", "doom", "undoom", "upload_key"]

NO_OBJECT = bytes(NONCE_LENGTH)
"""The nonce of a chunk that has no object: it was taken over from a map, and its object was not found yet."""

# A database that is being made anew has no generation yet.
_DOOM = text(
    "INSERT INTO doomed (key, generation) VALUES (:key, coalesce((SELECT generation FROM repository), 0))"
    " ON CONFLICT DO NOTHING"
)
_UNDOOM = text("DELETE FROM doomed WHERE key = :key")


def doom(connection: Connection, keys: Sequence[str]) -> int:
    """These keys may be deleted from the store once a generation above the current one has begun; how many are new."""
    return execute_many(connection, _DOOM, [{"key": key} for key in keys])


def undoom(connection: Connection, keys: Sequence[str]) -> None:
    """These keys are in use, whatever was thought of them before."""
    execute_many(connection, _UNDOOM, [{"key": key} for key in keys])


def upload_key(kind: str, digest: bytes, nonce: bytes) -> str:
    """The key of an upload of this kind."""
    return piece_key(digest, nonce) if kind == "m" else chunk_key(digest, nonce)
