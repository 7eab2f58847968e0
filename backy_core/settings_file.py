"""Checks what stands in a settings file, telling each fault with its path and line, and creates such files."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backy_core.errors import BackyError, ConfigurationError
from backy_core.settings_encryption import encryption_settings
from backy_core.settings_lines import line_of
from backy_core.settings_table import parse_size, unknown_key
from backy_core.settings_values import (
    DEFAULT_COMPRESSION,
    DEFAULT_MEMORY,
    RepositorySettings,
    compression_level,
    refuse_password,
)

__all__ = ["parse", "write"]

_KEYS = ("store", "metadata", "compression", "workers", "memory", "encryption", "plugin", "plugins")
_KINDS = ("io", "store", "meta", "hash", "hooks")
_LEAST_MEMORY = 16 * 1024 * 1024


def parse(text: str, name: str, path: Path) -> RepositorySettings:
    """The settings in `text`, every key checked; raises `ConfigurationError` with the path and line of the fault."""
    import tomllib

    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
        fault, line = (found[1], found[2] or len(text.splitlines())) if found else (str(error), "?")
        raise ConfigurationError(f"{path} line {line}: no valid TOML: {fault[:1].lower()}{fault[1:]}") from error

    def wrong(key: str, message: str, header: str = "") -> ConfigurationError:
        line = line_of(text, header, key)
        return ConfigurationError(f"{path}{f' line {line}' if line else ''}: {message}")

    for key in said:
        if key not in _KEYS:
            raise wrong(key, unknown_key(key, _KEYS))
    urls = {}
    for key in ("store", "metadata"):
        if key not in said:
            raise wrong("", f"setting {key!r} is missing; it is a URL such as {_EXAMPLES[key]}")
        urls[key] = said[key]
        if not isinstance(urls[key], str) or "://" not in urls[key]:
            raise wrong(key, f"setting {key!r} must be a URL such as {_EXAMPLES[key]}")
        _checked(wrong, key, refuse_password, urls[key])
    compression = said.get("compression", DEFAULT_COMPRESSION)
    if not isinstance(compression, str):
        raise wrong("compression", "setting 'compression' must be a string such as 'zstd:1'")
    _checked(wrong, "compression", compression_level, compression)
    workers = said.get("workers")
    if workers is not None and (type(workers) is not int or not 1 <= workers <= 256):
        raise wrong("workers", f"setting 'workers' must be a whole number from 1 to 256, not {workers!r}")
    memory = _checked(wrong, "memory", parse_size, said.get("memory", DEFAULT_MEMORY))
    if memory < _LEAST_MEMORY:
        raise wrong("memory", "setting 'memory' must be at least 16 MiB")
    only, choices = _plugins(said.get("plugins", {}), wrong)
    return RepositorySettings(
        name=name,
        path=path,
        store=urls["store"],
        metadata=urls["metadata"],
        compression=compression,
        workers=workers,
        memory=memory,
        plugins=_tables(said.get("plugin", {}), wrong),
        plugins_only=only,
        plugin_choices=choices,
        encryption=encryption_settings(
            said.get("encryption", {}),
            lambda key, message: wrong(key or "encryption", message, "encryption" if key else ""),
        ),
    )


_EXAMPLES = {"store": "file:///srv/backup", "metadata": "sqlite:///srv/backup.sqlite"}
_Wrong = Callable[..., ConfigurationError]


def _checked(wrong: _Wrong, key: str, check: Callable[[Any], Any], value: Any) -> Any:
    try:
        return check(value)
    except BackyError as error:
        raise wrong(key, f"setting {key!r}: {error}") from error


def _tables(said: Any, wrong: _Wrong) -> dict[str, Mapping[str, Any]]:
    if not isinstance(said, dict):
        raise wrong("plugin", "'plugin' must hold one table per plugin, such as [plugin.store_s3]")
    for key, table in said.items():
        if key.partition("_")[0] not in _KINDS or not key.partition("_")[2] or not isinstance(table, dict):
            raise wrong(
                "" if isinstance(table, dict) else key,
                f"[plugin.{key}] names no plugin: write a table such as [plugin.store_s3], its kind one of"
                f" {', '.join(_KINDS[:3])}",
                f"plugin.{key}" if isinstance(table, dict) else "plugin",
            )
    return said


def _plugins(said: Any, wrong: _Wrong) -> tuple[tuple[str, ...] | None, dict[str, str]]:
    if not isinstance(said, dict):
        raise wrong("plugins", "'plugins' must be a table: [plugins]")
    only = said.get("only")
    if only is not None and not (isinstance(only, list) and all(isinstance(one, str) for one in only)):
        raise wrong("only", "setting 'only' must be a list of strings, such as ['backy-store-s3']", "plugins")
    choices: dict[str, str] = {}
    for kind, named in said.items():
        if kind == "only":
            continue
        if kind not in _KINDS:
            raise wrong(kind, unknown_key(kind, ("only", *_KINDS[:4])), "plugins")
        if not isinstance(named, dict) or not all(isinstance(one, str) for one in named.values()):
            message = f'choose a package for a plugin as in {kind}.name = "package"'
            raise wrong(kind, message, "plugins")
        choices.update({f"{kind}.{name}": package for name, package in named.items()})
    return None if only is None else tuple(only), choices


def write(path: Path, text: str) -> None:
    """Create `path` with mode 0600 and this text, durably and atomically; raises `FileExistsError` or `OSError`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.link(temporary, path)  # unlike rename, never replaces what another init has just created
    finally:
        os.unlink(temporary)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
