"""The first two records of an export: which format it has, and which version it describes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass

from backy_core.errors import SourceError
from backy_io_backy2.location import shown

__all__ = ["FORMATS", "Header", "read_header"]

_FIRST = re.compile(rb"backy2 Version ([0-9.]{1,20}) metadata dump\r?\n")
_COLUMNS = {
    "2.1": ("uid", "date", "name", "size", "size_bytes", "valid"),
    "2.2": ("uid", "date", "name", "snapshot_name", "size", "size_bytes", "valid", "protected"),
    "2.10": ("uid", "date", "name", "snapshot_name", "size", "size_bytes", "valid", "protected", "expire"),
}
_COLUMNS["2.12"] = _COLUMNS["2.10"]
FORMATS = tuple(_COLUMNS)
"""The formats of exports that are understood."""

_UID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_LONGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Header:
    """A version as its export introduces it. `blocks`: how many it has, `size`: its bytes; dates as they stand there.

    `length`: bytes that the records take, `lines`: lines that they take.
    """

    format: str
    uid: str
    date: str
    name: str
    blocks: int
    size: int
    valid: bool
    expire: str
    length: int
    lines: int

    @property
    def is_sealed(self) -> bool:
        """Its blocks say how they are encrypted."""
        return self.format == "2.12"


def read_header(readline: Callable[[int], bytes], path: str) -> Header:
    """The header of the export at `path`, whose lines `readline` gives; raises `SourceError`."""
    first = readline(200)
    found = _FIRST.fullmatch(first)
    if found is None:
        if not first:
            raise SourceError(f"{path} is empty; export the version again with backy2")
        raise SourceError(
            f"{path} is no export of backy2: its first line is not 'backy2 Version ... metadata dump'; export the"
            " version to a file, not to standard output, where older backy2 mixes messages in"
        )
    format = found[1].decode()
    columns = _COLUMNS.get(format)
    if columns is None:
        raise SourceError(f"{path} has the format {format}; known are {', '.join(FORMATS)}: look for a newer plugin")
    record, lines = _record(readline, path)
    # A name in another encoding is no reason to refuse the data: whoever made the export chose it by the locale.
    text = io.StringIO(record.decode("utf-8", "backslashreplace"), newline="")
    try:
        rows = list(csv.reader(text, strict=True))
    except csv.Error as error:
        raise _broken(path, f"cannot be taken apart ({error})") from error
    values = dict(zip(columns, rows[0], strict=False)) if rows else {}
    if len(rows) != 1 or len(rows[0]) != len(columns):
        raise _broken(path, f"has not the {len(columns)} columns of format {format}")
    if not _UID.fullmatch(values["uid"]):
        raise _broken(path, f"has the uid {shown(values['uid'][:80])!r}")
    numbers = {}
    for column in ("size", "size_bytes", "valid"):
        if not _NUMBER.fullmatch(values[column]):
            raise _broken(path, f"has the {column} {shown(values[column][:40])!r}, which is no number")
        numbers[column] = int(values[column])
    return Header(
        format=format,
        uid=values["uid"],
        date=values["date"],
        name=values["name"],
        blocks=numbers["size"],
        size=numbers["size_bytes"],
        valid=numbers["valid"] == 1,
        expire=values.get("expire", ""),
        length=len(first) + len(record),
        lines=1 + lines,
    )


def _record(readline: Callable[[int], bytes], path: str) -> tuple[bytes, int]:
    """The version's record and its number of lines: a quoted name may contain line breaks."""
    record, lines = b"", 0
    while not lines or record.count(b'"') % 2:
        line = readline(_LONGEST)
        if not line.endswith(b"\n"):
            cut = "is too long" if len(line) == _LONGEST else "ends with the file"
            raise _broken(path, cut)
        record += line
        lines += 1
        if len(record) > _LONGEST:
            raise _broken(path, "is too long")
    return record, lines


def _broken(path: str, how: str) -> SourceError:
    return SourceError(f"{path} is damaged: its second line, the version, {how}; export the version again with backy2")
