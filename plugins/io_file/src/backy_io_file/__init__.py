"""Disk-image files and block devices as sources and targets: `file:///path`."""

from __future__ import annotations

from typing import Any

from backy_core.contracts.source import Source
from backy_core.contracts.target import Target
from backy_core.hooks import hookimpl

__all__ = ["open_source", "open_target"]


@hookimpl
def open_source(location: str, settings: Any) -> Source:
    """Open the regular file or block device at `location` for reading. There are no settings."""
    from backy_io_file.source import FileSource

    return FileSource(location)


@hookimpl
def open_target(location: str, settings: Any, size: int, force: bool, source: str) -> Target:
    """Open the regular file or block device at `location` for a restore, past every guard. There are no settings."""
    from backy_io_file import target

    return target.open_target(location, size, force=force, source=source)
