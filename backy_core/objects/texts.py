"""Text objects: JSON that must be readable before anything else is known, with a last line that proves it whole."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NoReturn

from backy_core.errors import InternalError, ObjectCorrupt

__all__ = ["TEXT_OBJECT_LIMIT", "decode_text", "encode_text"]

_JSON_LIMIT = 64 * 1024
_MARK = b"sha256 "
_LAST_LINE = len(_MARK) + 64 + 1

TEXT_OBJECT_LIMIT = _JSON_LIMIT + 1 + _LAST_LINE
"""Bytes that a text object has at most; who asks for one more learns that an object is too long."""


def encode_text(fields: dict[str, Any]) -> bytes:
    """The text object with these fields: JSON, a line feed, and the line with its SHA-256."""
    body = json.dumps(fields, indent=1, sort_keys=True).encode("ascii") + b"\n"
    if len(body) > _JSON_LIMIT + 1:
        raise InternalError(f"a text object of {len(body)} bytes is too long to be read back")
    return body + _MARK + hashlib.sha256(body).hexdigest().encode("ascii") + b"\n"


def decode_text(data: bytes, kind: str) -> dict[str, Any]:
    """The fields of the text object `data`, whose field `backy` is `kind` and whose field `repository` is a string.

    Raises `ObjectCorrupt` for anything else.
    """
    if len(data) > TEXT_OBJECT_LIMIT:
        raise ObjectCorrupt(f"is longer than {TEXT_OBJECT_LIMIT} bytes")
    body, last = data[:-_LAST_LINE], data[-_LAST_LINE:]
    if not body.endswith(b"\n") or last != _MARK + hashlib.sha256(body).hexdigest().encode("ascii") + b"\n":
        raise ObjectCorrupt("its checksum does not fit")
    try:
        fields = json.loads(body.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ObjectCorrupt("is no JSON") from error
    if not isinstance(fields, dict) or fields.get("backy") != kind or not isinstance(fields.get("repository"), str):
        raise ObjectCorrupt(f"is no {kind} of backy")
    return fields


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
