"""What core and plugins say to each other: the hook specifications, and the API versions this core speaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

if TYPE_CHECKING:
    from backy_core.contracts.hash import Hash
    from backy_core.contracts.meta import MetaStore
    from backy_core.contracts.source import Source
    from backy_core.contracts.store import Store
    from backy_core.contracts.target import Target

__all__ = ["KINDS", "SPOKEN", "hookimpl", "hookspec"]

SPOKEN: dict[str, tuple[int, ...]] = {"io": (1,), "store": (1,), "meta": (1,), "hash": (1,), "hooks": (1,)}
"""The API versions this core speaks of each kind of plugin, newest first. The entry-point group is
`backy_core.<kind>.v<version>`, and the entry point's name is what the user types: `s3` for `s3://`."""

KINDS = tuple(SPOKEN)

F = TypeVar("F", bound=Callable[..., Any])

_spec = pluggy.HookspecMarker("backy")


def hookspec(*, firstresult: bool = False) -> Callable[[F], F]:
    """Mark a function of this module as a hook specification."""
    return _spec(firstresult=firstresult)


hookimpl = pluggy.HookimplMarker("backy")
"""Mark a plugin module's function as the implementation of the hook of that name."""


@hookspec(firstresult=True)
def io_settings() -> type[Any] | None:
    """The frozen dataclass that checks this io plugin's settings table; imports no SDK. Default: no settings."""


@hookspec(firstresult=True)
def open_source(location: str, settings: Any) -> Source | None:
    """Open `location` (a URL with this plugin's scheme) for a backup.

    `settings` is an instance of the dataclass `io_settings` named, or None. Raises `NotFound`, `SourceError`,
    `InvalidInput` (a bad URL) or `PluginError` (the SDK is not installed).
    """


@hookspec(firstresult=True)
def open_target(location: str, settings: Any, size: int, force: bool, source: str) -> Target | None:
    """Open `location` for a restore of `size` bytes, having passed every guard.

    Without `force` something that exists raises `TargetExists`; what is mounted or held by another device raises
    `TargetInUse` even with it; a device smaller than `size` raises `TargetError`. `source` is the location the version
    was backed up from: when the target is that very thing, the refusal says so.
    """


@hookspec(firstresult=True)
def store_settings() -> type[Any] | None:
    """The frozen dataclass that checks this store plugin's settings table; imports no SDK. Default: no settings."""


@hookspec(firstresult=True)
def open_store(location: str, settings: Any, create: bool) -> Store | None:
    """Open the store at `location`. With `create` it may make the folder or bucket; without, an absent one raises
    `RepositoryError` and is never made: a mistyped or unmounted place must not fill up in silence."""


@hookspec(firstresult=True)
def meta_settings() -> type[Any] | None:
    """The frozen dataclass that checks this metadata plugin's settings table. Default: no settings."""


@hookspec(firstresult=True)
def open_meta(location: str, settings: Any, create: bool) -> MetaStore | None:
    """Open the metadata store at `location`. Without `create` an absent database raises `RepositoryError`. With it the
    schema is made, or brought up to this version; an older schema of an existing database is brought up either way."""


@hookspec(firstresult=True)
def new_hash(name: str) -> Hash | None:
    """The hash function `name`, as the user typed it and the repository recorded it."""


@hookspec()
def version_finished(facts: Any) -> None:
    """A version became valid. `facts`: `backy_core.model.Version`. For observers; an exception is only logged."""


@hookspec()
def damage_found(facts: Any) -> None:
    """Reading back found damage. `facts`: `backy_core.model.Damage`. For observers; an exception is only logged."""
