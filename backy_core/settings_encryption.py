"""The table [encryption] of a settings file: where the key of an encrypted repository comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backy_core.errors import ConfigurationError
from backy_core.settings_table import unknown_key

__all__ = ["EncryptionSettings", "encryption_settings"]

_SECRETS = ("passphrase", "recovery_code")
_PATHS = ("write_key", "recovery_key")
_KEYS = ("passphrase", "write_key", "recovery_key", "recovery_code")


@dataclass(frozen=True)
class EncryptionSettings:
    """Places, never secrets: those are fetched when a key is needed. The first that is set, in this order, is used.

    `passphrase` and `recovery_code` hold one of `file`, `env` and `command`; the others are paths.
    """

    passphrase: Mapping[str, Any] | None = field(default=None, repr=False)
    write_key: Path | None = None
    recovery_key: Path | None = None
    recovery_code: Mapping[str, Any] | None = field(default=None, repr=False)


def encryption_settings(said: Any, wrong: Callable[[str, str], ConfigurationError]) -> EncryptionSettings:
    """The table as a value; raises what `wrong` makes of a key and a message, which never has a value in it."""
    if not isinstance(said, dict):
        raise wrong("", "'encryption' must be a table: [encryption]")
    values: dict[str, Any] = {}
    for key, value in said.items():
        if key in _SECRETS:
            if not _names_a_place(value):
                raise wrong(
                    key,
                    f"setting {key!r} must say where the secret is: "
                    '{ file = "/path" }, { env = "VARIABLE" } or { command = ["pass", "show", "backy"] }',
                )
            values[key] = value
        elif key in _PATHS:
            if not isinstance(value, str) or not os.path.isabs(os.path.expanduser(value)):
                raise wrong(key, f"setting {key!r} must be the absolute path of a file")
            values[key] = Path(os.path.expanduser(value))
        else:
            raise wrong(key, unknown_key(key, _KEYS))
    return EncryptionSettings(**values)


def _names_a_place(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    (kind, place), *_ = value.items()
    if kind == "command":
        return isinstance(place, list) and bool(place) and all(isinstance(word, str) for word in place)
    if not isinstance(place, str) or not place:
        return False
    return kind == "env" or (kind == "file" and os.path.isabs(os.path.expanduser(place)))
