"""The settings of a repository: one TOML file, where it lives, how it is written, and what may stand in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from backy_core.errors import ConfigurationError, InvalidInput, RepositoryError
from backy_core.locations import path_to_url
from backy_core.settings_table import describe, parse_size, plugin_settings

__all__ = [
    "DEFAULT_COMPRESSION",
    "DEFAULT_MEMORY",
    "RepositorySettings",
    "check_name",
    "compression_level",
    "configuration_directory",
    "data_directory",
    "default_locations",
    "describe",
    "load",
    "locate",
    "parse_size",
    "plugin_settings",
    "refuse_password",
    "repository_names",
    "save",
]

DEFAULT_COMPRESSION = "zstd:1"
DEFAULT_MEMORY = 256 * 1024 * 1024

SYSTEM_CONFIGURATION = Path("/etc/backy")
SYSTEM_DATA = Path("/var/lib/backy")
"""What root uses when the first of the two exists: a machine's own repositories, not those of a login."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
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
        from backy_core.settings_file import line_of, read

        try:
            line = line_of(read(self.path), header, key)
        except ConfigurationError:  # the settings were made by a program and never saved
            line = 0
        return f"{self.path}{f' line {line}' if line else ''}, [{header}]"


def load(name: str | None = None) -> RepositorySettings:
    """The settings of a repository by name, or by the path of its file when there is a `/` in it or `.toml` at its end.

    None: the environment variable `BACKY_REPOSITORY`, else `default`. Raises `RepositoryError` when there is no such
    file, `ConfigurationError` (naming file and line) when there is something wrong with it.
    """
    from backy_core.settings_file import parse, read

    called, path = locate(name)
    try:
        text = read(path)
    except ConfigurationError as error:
        if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            raise
        named = path.parent == configuration_directory() / "repositories"
        option = "" if named and called == "default" else f" -R {called if named else path}"
        others = [other for other in repository_names() if other != called]
        known = f"; there are: {', '.join(others)}" if others else ""
        raise RepositoryError(
            f"repository {called!r} is not initialised: run backy{option} init ({path} is missing{known})"
        ) from error
    return parse(text, called, path)


def save(settings: RepositorySettings) -> None:
    """Create the file of these settings, whole or not at all, for its owner alone to read; never overwrites one.

    Raises `RepositoryError` when there is one, `ConfigurationError` when it cannot be written or would be refused by
    `load`.
    """
    from backy_core.settings_file import parse, write
    from backy_core.settings_text import settings_text

    if os.path.lexists(settings.path):
        raise RepositoryError(_already(settings))
    text = settings_text(settings)
    parse(text, settings.name, settings.path)  # what cannot be read back is not written
    try:
        write(settings.path, text)
    except FileExistsError as error:
        raise RepositoryError(_already(settings)) from error
    except OSError as error:
        reason = f"{error.strerror or error}; check the folder's owner and free space"
        raise ConfigurationError(f"cannot write {settings.path}: {reason}") from error


def _already(settings: RepositorySettings) -> str:
    return f"repository {settings.name!r} is initialised already: {settings.path}; choose another name with -R"


def locate(name: str | None = None) -> tuple[str, Path]:
    """The name of a repository and the path of its settings file, be it there or not; see `load`."""
    chosen = name or os.environ.get("BACKY_REPOSITORY") or "default"
    if "/" in chosen or chosen.endswith(".toml"):
        path = Path(os.path.abspath(os.path.expanduser(chosen)))
        return check_name(path.stem), path
    return check_name(chosen), configuration_directory() / "repositories" / f"{chosen}.toml"


def repository_names() -> list[str]:
    """The names that have a settings file in the configuration directory, sorted."""
    try:
        found = [path.stem for path in (configuration_directory() / "repositories").glob("*.toml")]
    except (OSError, ConfigurationError):
        return []
    return sorted(name for name in found if _NAME.fullmatch(name))


def check_name(name: str) -> str:
    """`name`, if it is a legal name of a repository; raises `InvalidInput` otherwise."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} is no name for a repository: use up to 100 letters, digits, dots, dashes and underscores,"
            " starting with a letter or digit"
        )
    return name


def default_locations(name: str) -> tuple[str, str]:
    """Where a repository lives when nobody says: the URLs of its store and of its metadata store."""
    home = data_directory() / check_name(name)
    return path_to_url(home / "store"), path_to_url(home / "metadata.sqlite", "sqlite")


def configuration_directory() -> Path:
    """`$XDG_CONFIG_HOME/backy`; unset, `/etc/backy` for root when that exists, else `~/.config/backy`."""
    return _directory("XDG_CONFIG_HOME", SYSTEM_CONFIGURATION, ".config")


def data_directory() -> Path:
    """`$XDG_DATA_HOME/backy`; unset, `/var/lib/backy` for root with an `/etc/backy`, else `~/.local/share/backy`."""
    return _directory("XDG_DATA_HOME", SYSTEM_DATA, ".local/share")


def _directory(variable: str, system: Path, below_home: str) -> Path:
    said = os.environ.get(variable, "")
    if os.path.isabs(said):  # a relative value is to be ignored, says the XDG specification
        return Path(said) / "backy"
    if os.geteuid() == 0 and SYSTEM_CONFIGURATION.is_dir():
        return system
    home = os.environ.get("HOME", "")
    if not os.path.isabs(home):
        import pwd

        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            home = ""
    if not os.path.isabs(home):
        raise ConfigurationError(f"this user has no home directory: set HOME or {variable} to an absolute path")
    return Path(home) / below_home / "backy"


def compression_level(compression: str) -> int | None:
    """The zstd level that `none`, `zstd` or `zstd:1` to `zstd:22` means; None for none. Raises `InvalidInput`."""
    found = _COMPRESSION.fullmatch(compression)
    level = int(found[1] or 1) if found else 0
    if found is None or not 1 <= level <= 22:
        raise InvalidInput(f"unknown compression {compression!r}: use none, or zstd:1 (fast) to zstd:22 (small)")
    return None if compression == "none" else level


def refuse_password(url: str, where: Callable[[str], str] | str = "") -> None:
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
