"""The text of a settings file, and on which of its lines a key stands, so that a fault can be told with its place."""

from __future__ import annotations

import re
from pathlib import Path

from backy_core.errors import ConfigurationError

__all__ = ["line_of", "read"]


def read(path: Path) -> str:
    """The text of a settings file; raises `ConfigurationError` when it cannot be read."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}; check who may read it") from error
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path} line {line}: not UTF-8 text; save it as UTF-8") from error


def line_of(text: str, header: str, key: str) -> int:
    """The line, from 1, of a key under a table's header, else of the header, else 0. Only ever used for messages.

    `key` may be the beginning of a dotted key (`store.s3`), and `header` that of a deeper table (`[plugins.store]`).
    """
    current, found = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if opened := re.match(r"\[\s*([^\[\]]+?)\s*\]", stripped):
            current = opened[1].replace('"', "").replace("'", "").replace(" ", "")
            if current == header:
                found = number
            if key and current == (f"{header}.{key}" if header else key):
                return number
            if key and current.startswith(f"{header}.{key}." if header else f"{key}."):
                found = found or number
        elif key and current == header and re.match(rf"[\"']?{re.escape(key)}[\"']?\s*[.=]", stripped):
            return number
    return found
