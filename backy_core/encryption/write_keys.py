"""The file of a write key: what a host gets that may back up but not read what lies in the store."""

from __future__ import annotations

from pathlib import Path

from backy_core.encryption import private_files
from backy_core.encryption.keys import WriteKey
from backy_core.errors import KeyRefused, ObjectCorrupt
from backy_core.objects.texts import decode_text, encode_text

__all__ = ["read_write_key", "write_key_text"]

_KIND = "write key"


def write_key_text(key: WriteKey) -> bytes:
    """The content of the file."""
    digest_key, write_key, reader = key.parts()
    return encode_text(
        {
            "backy": _KIND,
            "repository": key.repository_id,
            "digest_key": digest_key.hex(),
            "write_key": write_key.hex(),
            "reader": reader.hex(),
        }
    )


def read_write_key(path: Path, repository_id: str) -> WriteKey:
    """The key in a file; raises `KeyRefused` when it cannot be read, is damaged or another repository's."""
    try:
        said = decode_text(private_files.read(path), _KIND)
        parts = [bytes.fromhex(said[field]) for field in ("digest_key", "write_key", "reader")]
        if said["repository"] == repository_id:
            return WriteKey(repository_id, *parts)
    except OSError as error:
        raise KeyRefused(f"cannot read the write key {path}: {error.strerror}") from error
    except (ObjectCorrupt, ValueError, KeyError, TypeError):
        raise KeyRefused(
            f"{path} is no write key, or damaged; make it again with `backy key export --write-only FILE`"
        ) from None
    raise KeyRefused(f"{path} is the write key of the repository {said['repository'][:100]!r}, not of this one")
