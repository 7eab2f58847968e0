"""Opens what a repository's settings name, each through the plugin that answers to its URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backy_core.locations import normalise, scheme
from backy_core.plugins import Plugins

if TYPE_CHECKING:
    from backy_core.contracts.meta import MetaStore
    from backy_core.contracts.source import Source
    from backy_core.contracts.store import Store
    from backy_core.contracts.target import Target
    from backy_core.model import Version
    from backy_core.settings import RepositorySettings

__all__ = ["open_meta", "open_source", "open_store", "open_target", "plugins_of"]


def plugins_of(settings: RepositorySettings) -> Plugins:
    """The plugins that these settings allow and choose."""
    return Plugins(settings.plugins_only, settings.plugin_choices)


def open_source(plugins: Plugins, settings: RepositorySettings, location: str) -> Source:
    """The source at `location`, a URL or path."""
    url = normalise(location)
    opened: Source = plugins.open(
        "io", scheme(url), "open_source", location=url, settings=_settings(plugins, settings, "io", url)
    )
    return opened


def open_target(
    plugins: Plugins, settings: RepositorySettings, location: str, version: Version, *, force: bool
) -> Target:
    """The target at `location`, a URL or path, for a restore of `version`."""
    url = normalise(location)
    opened: Target = plugins.open(
        "io",
        scheme(url),
        "open_target",
        location=url,
        settings=_settings(plugins, settings, "io", url),
        size=version.size,
        force=force,
        source=version.source,
    )
    return opened


def open_store(plugins: Plugins, settings: RepositorySettings, *, create: bool) -> Store:
    """The store that the settings name; `create`: see the hook `open_store`."""
    url = settings.store
    chosen = _settings(plugins, settings, "store", url)
    opened: Store = plugins.open("store", scheme(url), "open_store", location=url, settings=chosen, create=create)
    return opened


def open_meta(plugins: Plugins, settings: RepositorySettings, *, create: bool) -> MetaStore:
    """The metadata store that the settings name; `create`: see the hook `open_meta`."""
    url = settings.metadata
    chosen = _settings(plugins, settings, "meta", url)
    opened: MetaStore = plugins.open("meta", scheme(url), "open_meta", location=url, settings=chosen, create=create)
    return opened


def _settings(plugins: Plugins, settings: RepositorySettings, kind: str, url: str) -> Any:
    """The settings object of the plugin that answers to `url`, or None when it has no settings."""
    name = scheme(url)
    return settings.plugin_settings(kind, name, plugins.settings_type(kind, name))
