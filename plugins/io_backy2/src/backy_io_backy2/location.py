"""The URL of an exported version: two paths, that of the export and that of the blobs."""

from __future__ import annotations

import os
import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from backy_core.errors import InvalidInput

__all__ = ["location_of", "paths_of", "shown"]

_SCHEME = "backy2://"
_FORM = "write it as backy2:///path/of/export.csv?data=/path/of/blobs"
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def paths_of(location: str) -> tuple[str, str | None]:
    """The absolute paths of the export and of the blobs' folder, percent-decoded; the latter None when not said.

    Raises `InvalidInput`. Its message never repeats the value of a parameter: it may be a secret in the wrong place.
    """
    if location[: len(_SCHEME)].lower() != _SCHEME:
        raise InvalidInput(f"this is no URL of an exported version; {_FORM}")
    place, _, query = location[len(_SCHEME) :].partition("?")
    if "#" in place or "#" in query:
        raise InvalidInput("a backy2:// URL has a '#'; write %23 when it is part of a name")
    if not place.startswith("/"):
        raise InvalidInput(f"a backy2:// URL names a host, but exports are local; {_FORM}")
    export = _decoded(place, "the export's path")
    if export.endswith("/"):
        raise InvalidInput(f"a backy2:// URL ends in a folder, not in an export; {_FORM}")
    data = None
    for parameter in query.split("&") if query else ():
        name, _, value = parameter.partition("=")
        if name != "data":
            told = shown(name[:40])
            hint = ": a key belongs into the settings file, under [plugin.io_backy2]" if "key" in name.lower() else ""
            raise InvalidInput(f"a backy2:// URL knows no parameter {told!r}, only data{hint}")
        if data is not None:
            raise InvalidInput("a backy2:// URL has data= twice; write %26data%3D when it is part of a name")
        data = _decoded(value, "data=")
        if not data.startswith("/"):
            raise InvalidInput(f"data= of a backy2:// URL must be an absolute path; {_FORM}")
    return export, data


def _decoded(text: str, what: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise InvalidInput(f"{what} of a backy2:// URL has a stray '%'; write %25 when it is part of a name")
    path = unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
    if b"\0" in path:
        raise InvalidInput(f"{what} of a backy2:// URL has a zero byte, which no name can have")
    return os.fsdecode(path)


def location_of(export: str, data: str) -> str:
    """The URL of an export and the folder of its blobs, whatever bytes are in their names."""
    return f"{_SCHEME}{quote_from_bytes(os.fsencode(export))}?data={quote_from_bytes(os.fsencode(data))}"


def shown(text: str) -> str:
    """Text for a message: as it is, or with what a terminal would not print in one line escaped."""
    return text if text.isprintable() else repr(text)[1:-1]
