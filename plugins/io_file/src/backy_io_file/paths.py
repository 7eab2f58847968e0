"""File URLs and paths: from one to the other, and a path as an operator can read it in one line."""

from __future__ import annotations

import os
import re
import stat
from urllib.parse import quote_from_bytes, unquote_to_bytes

from backy_core.errors import InvalidInput

__all__ = ["kind_of", "location_of", "path_of", "shown"]

_SCHEME = "file://"
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFREG: "a regular file",
}


def path_of(location: str) -> str:
    """The absolute path a file URL names, percent-decoded byte by byte; raises `InvalidInput` for anything else.

    Nothing is stripped or normalised: a space or newline at the end of a name belongs to the name.
    """
    if location[: len(_SCHEME)].lower() != _SCHEME:
        raise InvalidInput(f"{shown(location)} is no file URL; give an absolute path or file:///path")
    rest = location[len(_SCHEME) :]
    if not rest.startswith("/"):
        raise InvalidInput(f"{shown(location)} names a host; a file is local: give file:///path with three slashes")
    for mark, escape in (("?", "%3F"), ("#", "%23")):
        if mark in rest:
            raise InvalidInput(f"{shown(location)} has a {mark!r}; write {escape} when it is part of the file's name")
    if _BAD_ESCAPE.search(rest):
        raise InvalidInput(f"{shown(location)} has a stray '%'; write %25 when it is part of the file's name")
    path = unquote_to_bytes(rest.encode("utf-8", "surrogateescape"))
    if b"\0" in path:
        raise InvalidInput(f"{shown(location)} has a zero byte, which no file name can have")
    return os.fsdecode(path)


def location_of(path: str) -> str:
    """The file URL of an absolute path, whatever bytes are in it."""
    return _SCHEME + quote_from_bytes(os.fsencode(path))


def shown(path: str) -> str:
    """The path for a message: as it is, or with what a terminal would not print in one line escaped."""
    return path if path.isprintable() else repr(path)[1:-1]


def kind_of(mode: int) -> str:
    """What a file of this `st_mode` is, with its article: "a directory"."""
    return _KINDS.get(stat.S_IFMT(mode), "of an unknown kind")
