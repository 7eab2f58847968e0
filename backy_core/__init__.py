"""backy backs up block devices: deduplicated, compressed, to any store that a plugin speaks to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backy_core.repository import Repository

__all__ = ["Repository", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Late, so that importing a contract (as every plugin does) does not import the engine.
    if name == "Repository":
        from backy_core.repository import Repository

        return Repository
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
