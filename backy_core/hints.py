"""Reads a hints file: the byte ranges that changed since the base, in the JSON of `rbd diff --format json`.

The file is a list of objects `{"offset": 0, "length": 4194304, "exists": "true"}`, on one line or many. `exists` may be
a boolean or a string; a range that does not exist any more was discarded, and is read like any other: a hint never
turns a block into a hole, only what is read does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from backy_core.errors import InvalidHints
from backy_core.extents import BlockRanges
from backy_core.model import Extent, ExtentKind

__all__ = ["read_hints"]

_PIECE = 1024 * 1024
_LONGEST_ENTRY = 64 * 1024
_BLANK = re.compile(r"[ \t\r\n]*")


def read_hints(path: Path, size: int, block_size: int) -> BlockRanges:
    """The blocks touched by the hints in `path`, for a volume of `size` bytes.

    Raises `InvalidHints` for a file that cannot be read or parsed, and for ranges that overlap or go beyond the end.
    Memory is bounded by the number of separate ranges, not by the length of the file.
    """
    touched = BlockRanges()
    previous = Extent(0, 0)
    for number, entry in enumerate(_entries(path), 1):
        extent = _to_extent(entry, number, path, size)
        if extent.offset < previous.end:
            raise InvalidHints(
                f"{path}: entry {number} at {extent.offset} overlaps or precedes the one at {previous.offset}; "
                "make the hints anew with `rbd diff --format json`"
            )
        previous = extent
        if extent.length:
            touched.add(extent.offset // block_size, -(-extent.end // block_size))
    return touched


def _to_extent(entry: Any, number: int, path: Path, size: int) -> Extent:
    where = f"{path}: entry {number}"
    if not isinstance(entry, dict):
        raise InvalidHints(f"{where} is no object with offset, length and exists")
    offset, length = (_number(entry, name, where) for name in ("offset", "length"))
    exists = entry.get("exists", True)
    if not isinstance(exists, bool) and exists not in ("true", "false"):
        raise InvalidHints(f"{where}: exists is {exists!r}, neither true nor false")
    if offset + length > size:
        raise InvalidHints(
            f"{where} ends at {offset + length}, beyond the end of the source at {size}; are the hints of this volume?"
        )
    return Extent(offset, length, ExtentKind.CHANGED)


def _number(entry: dict[str, Any], name: str, where: str) -> int:
    value = entry.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidHints(f"{where}: {name} is {value!r}, not a number of bytes")
    return value


def _entries(path: Path) -> Iterator[Any]:
    """The elements of the JSON list in the file, one at a time: a diff of many TiB must not be held as objects."""
    try:
        with path.open(encoding="utf-8") as file:
            yield from _parse(file, path)
    except OSError as error:
        raise InvalidHints(f"cannot read the hints {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidHints(f"{path} is no valid JSON: {error}") from error


def _parse(file: TextIO, path: Path) -> Iterator[Any]:
    text, position, wanted = "", 0, "["
    decode = json.JSONDecoder().raw_decode
    while True:
        if len(text) - position < _LONGEST_ENTRY:
            text, position = text[position:] + file.read(_PIECE), 0
        blank = _BLANK.match(text, position)
        assert blank is not None  # it matches nothing, too
        position = blank.end()
        if position == len(text) and (piece := file.read(_PIECE)):
            text, position = piece, 0
            continue
        found = text[position : position + 1]
        if wanted == "end":
            if found:
                raise InvalidHints(f"{path} goes on after its JSON list with {text[position : position + 20]!r}")
            return
        if not found:
            raise InvalidHints(f"{path} is cut off: its JSON list does not end; was the disk full, did rbd diff fail?")
        if wanted == "[":
            if found != "[":
                raise InvalidHints(f"{path} does not hold a JSON list; make it with `rbd diff --format json`")
            position, wanted = position + 1, "entry or ]"
        elif found == "]" and wanted in ("entry or ]", ", or ]"):
            position, wanted = position + 1, "end"
        elif wanted == ", or ]":
            if found != ",":
                raise InvalidHints(f"{path} is no valid JSON near {text[position : position + 20]!r}")
            position, wanted = position + 1, "entry"
        else:
            entry, position = decode(text, position)
            yield entry
            wanted = ", or ]"
