"""Builds a plugin's settings dataclass from its TOML table: unknown keys, missing ones, types and secrets."""

from __future__ import annotations

import dataclasses
import os
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from backy_core.errors import BackyError, ConfigurationError, InvalidInput, PluginError

__all__ = ["HIDDEN", "describe", "fetch_secret", "parse_size", "plugin_settings", "unknown_key"]

HIDDEN = "(hidden)"

_UNITS = {"": 0, "b": 0, "k": 1, "kib": 1, "m": 2, "mib": 2, "g": 3, "gib": 3, "t": 4, "tib": 4, "p": 5, "pib": 5}
_SIZE = re.compile(r"\s*([0-9]+)(?:\.([0-9]+))?\s*([A-Za-z]*)\s*", re.ASCII)
_WORDS = {str: "a string", int: "a whole number", bool: "true or false", float: "a number", Path: "a path"}
T = TypeVar("T")


def plugin_settings(settings_type: type[T], table: Mapping[str, Any], where: str | Callable[[str], str]) -> T:
    """An instance of a plugin's dataclass from its table; raises `ConfigurationError` with `where` in front.

    `where` is a place in words, or a function that gives the place of a key. Fields may be str, int, float, bool, Path,
    `Literal`, tuples, lists and mappings of these, and unions with None. `field(metadata={"size": True})` accepts
    `"4 MiB"`; `metadata={"secret": True}` accepts `{ file = ".." }`, `{ env = ".." }` and `{ command = [..] }`. A
    `ValueError` of the class's own `__post_init__` is reported in the same voice.
    """
    place = where if callable(where) else lambda _key: where
    fields = {one.name: one for one in dataclasses.fields(typing.cast(Any, settings_type)) if one.init}
    try:
        hints = typing.get_type_hints(settings_type)
    except (NameError, TypeError) as error:
        raise PluginError(
            f"the settings class {settings_type.__module__}.{settings_type.__qualname__} cannot be read: {error};"
            " upgrade or remove the plugin it belongs to"
        ) from error
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in fields:
            raise ConfigurationError(f"{place(key)}: {unknown_key(key, fields)}")
        try:
            values[key] = _value(fields[key], hints[key], value)
        except (ConfigurationError, InvalidInput) as error:
            raise ConfigurationError(f"{place(key)}: setting {key!r} {error}") from error
    for key, one in fields.items():
        if key not in values and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            raise ConfigurationError(f"{place('')}: setting {key!r} is missing; it is {_in_words(hints[key])}")
    try:
        return settings_type(**values)
    except BackyError:
        raise
    except ValueError as error:
        raise ConfigurationError(f"{place('')}: {error}") from error


def describe(instance: Any) -> dict[str, Any]:
    """The settings of a plugin by name, fit for showing: a secret that is set reads `(hidden)`."""
    return {
        one.name: HIDDEN if one.metadata.get("secret") and value is not None else value
        for one in dataclasses.fields(instance)
        for value in (getattr(instance, one.name),)
    }


def parse_size(size: str | int) -> int:
    """Bytes of `4194304`, `"4 MiB"`, `"4M"` or `"1.5 GiB"`; units are powers of 1024. Raises `InvalidInput`."""
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if found is None:
        raise InvalidInput(f"{size!r} is no size: write it as 4194304, 4 MiB or 4M")
    whole, fraction, unit = found[1], found[2] or "", found[3]
    if unit.lower() not in _UNITS:
        known = "KiB, MiB, GiB, TiB" if unit.lower() not in ("kb", "mb", "gb", "tb", "pb") else f"{unit[0].upper()}iB"
        raise InvalidInput(f"{size!r} is no size: unknown unit {unit!r}, use {known}")
    factor: int = 1024 ** _UNITS[unit.lower()]
    scaled = int(whole + fraction) * factor
    parts: int = 10 ** len(fraction)
    length, rest = divmod(scaled, parts)
    if rest:
        raise InvalidInput(f"{size!r} is no whole number of bytes")
    return length


def unknown_key(key: str, known: typing.Iterable[str]) -> str:
    """What to say of a key that nobody knows, with the nearest one that is known, or all of them."""
    from difflib import get_close_matches

    names = list(known)
    near = get_close_matches(key, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
    return f"unknown setting {key!r}; {hint}"


def _value(one: dataclasses.Field[Any], wanted: Any, value: Any) -> Any:
    if one.metadata.get("secret") and isinstance(value, Mapping):
        value = fetch_secret(value)
    if one.metadata.get("size") and isinstance(value, str):
        value = parse_size(value)
    try:
        return _checked(wanted, value)
    except TypeError:
        shown = "something else" if one.metadata.get("secret") else repr(value)
        raise ConfigurationError(f"must be {_in_words(wanted)}, not {shown}") from None


def _checked(wanted: Any, value: Any) -> Any:
    """`value` as the type `wanted`, or `TypeError`."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return value
    if origin in (Union, types.UnionType):
        for one in arguments:
            try:
                return _checked(one, value)
            except TypeError:
                continue
    elif origin is Literal:
        if any(value == one and type(value) is type(one) for one in arguments):
            return value
    elif origin in (tuple, list, Sequence) and isinstance(value, list):
        items = [_checked(arguments[0], item) for item in value]
        return items if origin is list else tuple(items)
    elif origin in (dict, Mapping) and isinstance(value, Mapping):
        return {key: _checked(arguments[1], item) for key, item in value.items()}
    elif wanted is Path and isinstance(value, str) and value:
        return Path(os.path.expanduser(value))
    elif wanted is float and type(value) in (int, float):
        return float(value)
    elif wanted in (str, int, bool) and type(value) is wanted:
        return value
    raise TypeError


def _in_words(wanted: Any) -> str:
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return " or ".join(_in_words(one) for one in arguments if one is not type(None))
    if origin is Literal:
        return "one of " + ", ".join(str(one) for one in arguments)
    if origin in (tuple, list, Sequence):
        return f"a list, each item {_in_words(arguments[0])}"
    if origin in (dict, Mapping):
        return f"a table, each value {_in_words(arguments[1])}"
    return _WORDS.get(wanted, str(getattr(wanted, "__name__", wanted)))


def fetch_secret(said: Mapping[str, Any]) -> str:
    """The secret that a table points to, without line feeds at its end; raises `ConfigurationError`.

    Messages name the place, never the value, and go on from "setting 'password'".
    """
    (kind, place), *rest = list(said.items()) or [("", "")]
    if rest or kind not in ("file", "env", "command"):
        raise ConfigurationError('must be a string, { file = ".." }, { env = ".." } or { command = [".."] }')
    if kind == "command":
        return _from_command(place)
    if not isinstance(place, str) or not place:
        raise ConfigurationError(f"needs a string for {kind!r}")
    if kind == "env":
        if place not in os.environ:
            raise ConfigurationError(f"is to come from the environment variable {place}, which is not set")
        secret = os.environ[place]
    else:
        path = Path(os.path.expanduser(place))
        if not path.is_absolute():
            raise ConfigurationError(f"names the file {place!r}: give its absolute path")
        try:
            secret = path.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise ConfigurationError(f"cannot be read from {path}: {reason}") from error
    if not secret:
        raise ConfigurationError(f"is empty: look at the {kind} {place}")
    return secret


def _from_command(command: Any) -> str:
    import subprocess

    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise ConfigurationError("needs its command as a list of strings, such as ['pass', 'show', 'backy']")
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"is to come from the command {command[0]}, which took over 60 seconds") from error
    except OSError as error:
        raise ConfigurationError(f"is to come from the command {command[0]}: {error.strerror}") from error
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[:200]
        raise ConfigurationError(
            f"is to come from the command {command[0]}, which ended with {done.returncode}: {said}"
        )
    secret = done.stdout.decode("utf-8", "replace").rstrip("\r\n")
    if not secret:
        raise ConfigurationError(f"is to come from the command {command[0]}, which printed nothing")
    return secret
