"""The settings of a repository: one TOML file, where it lives, how it is written, and what may stand in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from backy_core.errors import ConfigurationError, InvalidInput, RepositoryError
from backy_core.locations import path_to_url
from backy_core.settings_lines import read
from backy_core.settings_table import describe, parse_size, plugin_settings
from backy_core.settings_values import (
    DEFAULT_COMPRESSION,
    DEFAULT_MEMORY,
    RepositorySettings,
    compression_level,
    refuse_password,
)

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

SYSTEM_CONFIGURATION = Path("/etc/backy")
SYSTEM_DATA = Path("/var/lib/backy")
"""What root uses when the first of the two exists: a machine's own repositories, not those of a login."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def load(name: str | None = None) -> RepositorySettings:
    """The settings of a repository by name, or by the path of its file when there is a `/` in it or `.toml` at its end.

    None: the environment variable `BACKY_REPOSITORY`, else `default`. Raises `RepositoryError` when there is no such
    file, `ConfigurationError` (naming file and line) when there is something wrong with it.
    """
    from backy_core.settings_file import parse

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
