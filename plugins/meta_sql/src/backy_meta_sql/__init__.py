"""The plugin `sqlite`: keeps versions and block maps in an SQL database; importing it imports no SQL library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backy_core.errors import ConfigurationError
from backy_core.hooks import hookimpl

if TYPE_CHECKING:
    from backy_core.contracts.meta import MetaStore

__all__ = ["SqlSettings", "meta_settings", "open_meta"]


@dataclass(frozen=True, slots=True)
class SqlSettings:
    """The settings of a metadata database. `wait_seconds`: how long a writer waits for its turn before it gives up."""

    wait_seconds: float = 30.0

    def __post_init__(self) -> None:
        number = isinstance(self.wait_seconds, int | float) and not isinstance(self.wait_seconds, bool)
        if not number or not 0 < self.wait_seconds <= 3600:
            raise ConfigurationError(f"wait_seconds must be a number above 0, at most 3600, not {self.wait_seconds!r}")


@hookimpl
def meta_settings() -> type[Any]:
    """The dataclass that checks this plugin's settings table."""
    return SqlSettings


@hookimpl
def open_meta(location: str, settings: Any, create: bool) -> MetaStore | None:
    """Open the database at `sqlite:///absolute/path`; None for a URL of another scheme.

    Raises `InvalidInput` (a bad URL), `RepositoryError` (absent, foreign, newer than this plugin, or on a network file
    system), `MetaError` (damaged, locked, not permitted) and `OutOfSpace`.
    """
    if not location.startswith("sqlite:"):
        return None
    from backy_meta_sql.store import open_sqlite

    return open_sqlite(location, settings if settings is not None else SqlSettings(), create)
