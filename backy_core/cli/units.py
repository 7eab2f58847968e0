"""Sizes, times and durations as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from backy_core.model import Extent, Version

__all__ = [
    "BYTE_PHASES",
    "counted",
    "human_duration",
    "human_extent",
    "human_location",
    "human_size",
    "local_time",
    "one_line",
    "short_uid",
    "utc_time",
]

BYTE_PHASES = frozenset({"read", "restore", "scrub"})
"""The phases of `backy_core.reports.Progress` that count bytes; the others count things."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SHORT_UID = 12


def human_size(size: int) -> str:
    """`512 B`, `12.4 MiB`: binary units, one decimal, never rounded up to a full next unit."""
    if size < 1024:
        return f"{size} B"
    power = min((size.bit_length() - 1) // 10, len(_UNITS) - 1)
    tenths = size * 10 >> (10 * power)
    return f"{tenths // 10}.{tenths % 10} {_UNITS[power]}"


def human_duration(seconds: float) -> str:
    """`3.2 s`, `4 min 05 s`, `2 h 07 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def human_extent(extent: Extent) -> str:
    """A byte range for both the eye and `dd`: offset and length in bytes, in hexadecimal and in words."""
    return (
        f"offset {extent.offset} (0x{extent.offset:x}, {human_size(extent.offset)}), "
        f"length {extent.length} (0x{extent.length:x}, {human_size(extent.length)})"
    )


def human_location(url: str) -> str:
    """A `file://` URL as the path it stands for, anything else as it is."""
    if not url.startswith("file:///"):
        return url
    from urllib.parse import unquote

    return unquote(url.removeprefix("file://"), errors="surrogateescape")


def local_time(moment: datetime) -> str:
    """For the screen: the local time with its offset from UTC."""
    return moment.astimezone().isoformat(" ", "seconds")


def utc_time(moment: datetime) -> str:
    """For programs: ISO 8601 in UTC with a Z and milliseconds."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat("T", "milliseconds") + "Z"


def short_uid(version: Version) -> str:
    """As much of a uid as a screen needs; a prefix is a selector, too."""
    return version.uid[:_SHORT_UID]


def counted(count: int, thing: str, things: str | None = None) -> str:
    """`1 version`, `2 versions`."""
    return f"{count} {thing if count == 1 else things or thing + 's'}"


def one_line(text: str | Iterable[str]) -> str:
    """Text that keeps to one line and sends no control characters to a terminal, whatever a name contained."""
    joined = " ".join((text if isinstance(text, str) else " ".join(text)).split())
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in joined)
