"""The plugin `backy2`: an exported version of backy2 as the source of a backup. It reads, and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backy_core.errors import InvalidInput
from backy_core.hooks import hookimpl

if TYPE_CHECKING:
    from backy_core.contracts.source import Source
    from backy_core.contracts.target import Target

__all__ = ["io_settings", "open_source", "open_target"]


@hookimpl
def io_settings() -> type[Any]:
    """The dataclass that checks the table `[plugin.io_backy2]`."""
    from backy_io_backy2.settings import Backy2Settings

    return Backy2Settings


@hookimpl
def open_source(location: str, settings: Any) -> Source:
    """Open the version that `backy2:///path/of/export.csv?data=/path/of/blobs` names; reads its whole export once.

    Raises `InvalidInput` (a bad URL), `NotFound` (no such export or folder), `SourceError` (no export of a known
    format, cut short, of an invalid version, the wrong key), `ConfigurationError` (no key) and `PluginError` (no
    cryptography).
    """
    from backy_io_backy2.settings import Backy2Settings
    from backy_io_backy2.source import Backy2Source

    return Backy2Source(location, settings if settings is not None else Backy2Settings())


@hookimpl
def open_target(location: str, settings: Any, size: int, force: bool, source: str) -> Target:
    """Always raises `InvalidInput`: nothing of an installation of backy2 is ever changed."""
    raise InvalidInput("backy2:// can only be backed up from, never restored to; restore to a file or device instead")
