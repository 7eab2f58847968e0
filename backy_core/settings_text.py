"""Writes settings as TOML, with a comment that explains each key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backy_core.errors import ConfigurationError
from backy_core.settings_values import RepositorySettings

__all__ = ["settings_text"]

_ENCRYPTION = {
    "passphrase": '{ file = "/etc/backy/passphrase" }',
    "write_key": '"/etc/backy/write.key"',
    "recovery_key": '"/media/usb/recovery.pem"',
    "recovery_code": '{ file = "/root/recovery.code" }',
}
"""The keys of the table [encryption], each with an example."""

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def settings_text(settings: RepositorySettings) -> str:
    """The text of the file for these settings; what `load` makes of it equals them."""
    workers = "# workers = 4" if settings.workers is None else f"workers = {settings.workers}"
    text = f"""\
# Settings of the backy repository {settings.name!r}. Written by `backy init`, yours to edit.

# Where the data lives, and where versions and block maps live. What is in the repository is tied to both: a copied
# or moved store or database is named here. No passwords in URLs; see the tables of plugins below.
store = {_value(settings.store)}
metadata = {_value(settings.metadata)}

# How new data is compressed: "none", or "zstd:1" (fast) to "zstd:22" (small). Takes effect with the next backup.
compression = {_value(settings.compression)}

# How many blocks are worked on at once. Unset: as many as this machine has use for.
{workers}

# The memory that a backup, restore or scrub may use for blocks on their way.
memory = {_value(_size(settings.memory))}

# Which installed plugins may be used (packages, or plugins such as "store:s3"; unset: all), and which package is meant
# when two bring a plugin of the same name.
[plugins]
"""
    if settings.plugins_only is None:
        text += '# only = ["backy-store-s3"]\n'
    else:
        text += f"only = {_value(list(settings.plugins_only))}\n"
    if not settings.plugin_choices:
        text += '# store.s3 = "backy-store-s3"\n'
    for choice, package in settings.plugin_choices.items():
        kind, _, name = choice.partition(".")
        text += f"{kind}.{_key(name)} = {_value(package)}\n"
    text += """
# Where the key of an encrypted repository comes from, if not from the variable BACKY_PASSPHRASE or from the terminal.
# A passphrase or the code of a recovery sheet is never written here but fetched: { file = "/path" },
# { env = "VARIABLE" } or { command = ["pass", "show", "backy"] }. With a write key alone a host backs up, but cannot
# read anything back.
[encryption]
"""
    for key, example in _ENCRYPTION.items():
        said = getattr(settings.encryption, key)
        value = _value(str(said) if isinstance(said, Path) else said) if said is not None else example
        text += f"{'' if said is not None else '# '}{key} = {value}\n"
    text += """
# Settings of single plugins, one table each, named by kind and name. A secret is best not written here but fetched:
# { file = "/path" }, { env = "VARIABLE" } or { command = ["pass", "show", "backy"] }.
"""
    if not settings.plugins:
        text += '# [plugin.store_s3]\n# secret_access_key = { file = "/etc/backy/s3.key" }\n'
    for table, values in settings.plugins.items():
        text += f"[plugin.{_key(table)}]\n"
        text += "".join(f"{_key(key)} = {_value(value)}\n" for key, value in values.items()) + "\n"
    return text.rstrip("\n") + "\n"


def _size(length: int) -> str:
    for unit, power in (("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if length and length % 1024**power == 0:
            return f"{length // 1024**power} {unit}"
    return f"{length} B"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key, re.ASCII) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())} }}"
    raise ConfigurationError(f"a setting cannot be {value!r}: TOML has no such value")


def _string(text: str) -> str:
    escaped = "".join(
        _ESCAPES.get(one) or (f"\\u{ord(one):04x}" if one < " " or one == "\x7f" else one) for one in text
    )
    try:
        escaped.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{text!r} is no UTF-8 text and cannot be kept in settings") from error
    return f'"{escaped}"'
