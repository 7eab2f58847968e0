"""What the user types for a place: a URL, or a bare path that means `file://`."""

from __future__ import annotations

import os
import re

from backy_core.errors import InvalidInput

__all__ = ["normalise", "path_to_url", "scheme"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PLAIN = "/:@+,="
"""What a path keeps unquoted in a URL besides letters, digits and `_.-~`."""


def scheme(url: str) -> str:
    """The entry-point name that answers to `url`: its scheme in lower case, `+` written as `.`; `file` for a bare path.

    An entry point's name cannot well contain a `+`, so `s3+http://` is looked for as `s3.http`.
    """
    found = _SCHEME.match(url)
    return found[1].lower().replace("+", ".") if found else "file"


def normalise(location: str) -> str:
    """`location` as a URL: a bare path becomes an absolute, percent-encoded `file://` URL; a URL stays as it is.

    Only a scheme followed by `://` makes a URL, so `C:` or `a:b` are names of files, and so is `./s3://x`. Raises
    `InvalidInput` for what cannot be a place at all.
    """
    if not location:
        raise InvalidInput("an empty location: give a path or a URL such as rbd://pool/image")
    if "\0" in location:
        raise InvalidInput(f"{location!r} contains a NUL character and can be no location")
    found = _SCHEME.match(location)
    if found:
        return found[1].lower() + location[found.end(1) :]
    return path_to_url(location)


def path_to_url(path: str | os.PathLike[str], scheme: str = "file") -> str:
    """The URL of a path on this host, made absolute. Bytes that are no UTF-8 survive as percent escapes."""
    from urllib.parse import quote_from_bytes

    text = os.fspath(path)
    try:
        if ".." in text.split("/"):  # `link/..` is not what it looks like: let the kernel say where it leads
            folder, name = os.path.split(text)
            folder, name = (text, "") if name in ("", "..") else (folder, name)
            text = os.path.join(os.path.realpath(folder), name) if name else os.path.realpath(folder)
        absolute = os.path.abspath(text)
    except OSError as error:
        raise InvalidInput(f"cannot make {text!r} absolute: {error.strerror}; give an absolute path") from error
    return f"{scheme}://{quote_from_bytes(os.fsencode(absolute), safe=_PLAIN)}"
