"""What may stand in the settings table `[plugin.io_backy2]`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Backy2Settings"]

_KEY = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Backy2Settings:
    """How the installation of backy2 was set up.

    `data`: the folder of its blobs, for URLs without `?data=`. `hash`: its `hash_function`. `encryption_key`: its key
    of 64 hexadecimal digits. `timezone`: the zone of its dates before 2.10, when the versions' uids shall not tell it.
    `allow_invalid`: read versions that backy2 has marked invalid, too. Raises `ValueError`.
    """

    data: Path | None = None
    hash: str = "sha512"
    encryption_key: str | None = field(default=None, repr=False, metadata={"secret": True})
    timezone: str | None = None
    allow_invalid: bool = False

    def __post_init__(self) -> None:
        if self.data is not None and not self.data.is_absolute():
            raise ValueError(f"setting 'data' must be an absolute path, not {str(self.data)!r}")
        try:
            known = hashlib.new(self.hash, usedforsecurity=False).digest_size > 0
        except (ValueError, TypeError):
            known = False
        if not known:
            raise ValueError(f"setting 'hash' is {self.hash!r}, which this Python cannot compute; backy2 used sha512")
        if self.encryption_key is not None and not _KEY.fullmatch(self.encryption_key):
            raise ValueError("setting 'encryption_key' must be the 64 hexadecimal digits of backy2's encryption_key")
        if self.timezone is not None and not _is_zone(self.timezone):
            raise ValueError(f"setting 'timezone' is {self.timezone!r}, which is not known; write it as Europe/Berlin")


def _is_zone(name: str) -> bool:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: the name of a folder of zones
        return False
    return True
