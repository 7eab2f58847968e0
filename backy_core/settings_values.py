"""The settings of a repository as a value, and the two checks that a single value needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from backy_core.errors import ConfigurationError, InvalidInput
from backy_core.settings_encryption import EncryptionSettings
from backy_core.settings_lines import line_of, read
from backy_core.settings_table import fetch_secret, plugin_settings

__all__ = ["DEFAULT_COMPRESSION", "DEFAULT_MEMORY", "RepositorySettings", "compression_level", "refuse_password"]

DEFAULT_COMPRESSION = "zstd:1"
DEFAULT_MEMORY = 256 * 1024 * 1024

_COMPRESSION = re.compile(r"none|zstd(?::([0-9]{1,2}))?")
_SECRET_PARAMETERS = {"password", "passwd", "secret", "token", "access_token", "secret_key", "secret_access_key"}
T = TypeVar("T")


@dataclass(frozen=True)
class RepositorySettings:
    """What `backy init` wrote and an operator may edit. `store` and `metadata` are URLs without secrets.

    `memory` is in bytes. `workers` None: as many as the machine has use for. `plugins` holds one table per plugin, by
    `kind_name` (`store_s3`). `plugins_only` and `plugin_choices` go to `backy_core.plugins.Plugins`.
    """

    name: str
    path: Path
    store: str
    metadata: str
    compression: str = DEFAULT_COMPRESSION
    workers: int | None = None
    memory: int = DEFAULT_MEMORY
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    plugins_only: tuple[str, ...] | None = None
    plugin_choices: Mapping[str, str] = field(default_factory=dict)
    encryption: EncryptionSettings = field(default_factory=EncryptionSettings)

    def secret(self, key: str) -> str:
        """The secret that the table `[encryption]` names under `key`, fetched now.

        Raises `ConfigurationError`, naming the file and the line, never the secret.
        """
        try:
            return fetch_secret(getattr(self.encryption, key))
        except ConfigurationError as error:
            raise ConfigurationError(f"{self._place('encryption', key)}: setting {key!r} {error}") from error

    def plugin_settings(self, kind: str, name: str, settings_type: type[T] | None) -> T | None:
        """An instance of a plugin's dataclass from its table `[plugin.KIND_NAME]`; None when it takes no settings.

        Raises `ConfigurationError`, naming the file and the line.
        """
        table = self.plugins.get(f"{kind}_{name}", {})
        header = f"plugin.{kind}_{name}"
        if settings_type is None:
            if table:
                raise ConfigurationError(f"{self._place(header, next(iter(table)))}: {kind} {name!r} takes no settings")
            return None
        return plugin_settings(settings_type, table, lambda key: self._place(header, key))

    def _place(self, header: str, key: str) -> str:
        try:
            line = line_of(read(self.path), header, key)
        except ConfigurationError:  # the settings were made by a program and never saved
            line = 0
        return f"{self.path}{f' line {line}' if line else ''}, [{header}]"


def compression_level(compression: str) -> int | None:
    """The zstd level that `none`, `zstd` or `zstd:1` to `zstd:22` means; None for none. Raises `InvalidInput`."""
    found = _COMPRESSION.fullmatch(compression)
    level = int(found[1] or 1) if found else 0
    if found is None or not 1 <= level <= 22:
        raise InvalidInput(f"unknown compression {compression!r}: use none, or zstd:1 (fast) to zstd:22 (small)")
    return None if compression == "none" else level


def refuse_password(url: str) -> None:
    """Raise `ConfigurationError` when a URL contains a secret: it would end in histories, process lists and logs."""
    from urllib.parse import parse_qsl, urlsplit

    try:
        parts = urlsplit(url)
        secret = "password" if parts.password is not None else None
        secret = secret or next((k for k, _ in parse_qsl(parts.query, True) if k.lower() in _SECRET_PARAMETERS), None)
    except ValueError as error:
        raise ConfigurationError(f"not a URL: {error}; write it as scheme://place") from error
    if secret:
        name = parts.scheme.replace("+", ".")
        raise ConfigurationError(
            f"the {name}:// URL contains a {secret}, which others could see: take it out and set it in the settings"
            f' file under [plugin.KIND_{name}], for example as {{ file = "/path" }}'
        )
