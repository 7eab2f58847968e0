"""The plugin `file`: opens a directory as a store, `file:///dir`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

from backy_core.errors import InvalidInput
from backy_core.hooks import hookimpl

if TYPE_CHECKING:
    from backy_core.contracts.store import Store

__all__ = ["directory_of", "open_store"]


def directory_of(location: str, scheme: str = "file") -> str:
    """The absolute path in a URL `<scheme>:///dir`, percent-decoded.

    Raises `InvalidInput` for another scheme, a relative path, a host other than localhost, a query or a fragment, and
    a NUL byte.
    """
    import os

    shape = f"write {scheme}:///absolute/path"
    try:
        parts = urlsplit(location)
    except ValueError as error:
        raise InvalidInput(f"{location!r} is no URL: {shape}") from error
    if parts.scheme != scheme:
        raise InvalidInput(f"{location!r} is no {scheme} URL: {shape}")
    if parts.netloc not in ("", "localhost"):
        raise InvalidInput(f"{location!r} names the host {parts.netloc!r}, but a directory is local: {shape}")
    # urlsplit drops an empty query, and newlines and tabs in silence; what is left out must not open another directory.
    if "?" in location or "#" in location or any(ord(letter) < 32 for letter in location):
        raise InvalidInput(
            f"{location!r} has a query, fragment or control character: {shape}, with ? as %3F, # as %23 in a name"
        )
    path = os.fsdecode(unquote_to_bytes(parts.path.encode("utf-8", "surrogateescape")))
    if not path.startswith("/"):
        raise InvalidInput(f"{location!r} is relative: {shape}")
    if "\0" in path:
        raise InvalidInput(f"{location!r} has a NUL byte in its path: {shape}")
    return os.path.normpath(path) if not path.startswith("//") else os.path.normpath(path[1:])


@hookimpl
def open_store(location: str, settings: Any, create: bool) -> Store | None:
    """Open the directory as a store; with `create`, make it when it is absent. It takes no settings."""
    root = directory_of(location)

    from backy_core.builtin.posix import PosixStore

    return PosixStore(f"file://{quote(root, errors='surrogateescape')}", root, create=create)
