"""Lets a plugin in: loads its entry point through stevedore and has pluggy check it, or says in one line why not."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import pluggy
from stevedore.named import NamedExtensionManager

from backy_core.errors import PluginError
from backy_core.installed import owner

__all__ = ["check", "load"]


if TYPE_CHECKING:
    _Named = NamedExtensionManager[Any]
else:
    _Named = NamedExtensionManager  # older versions cannot be subscripted


class _Finder(_Named):
    """Loads one entry point that was chosen already, in place of those in stevedore's file cache."""

    chosen: EntryPoint

    def list_entry_points(self) -> list[EntryPoint]:
        return [self.chosen]


def load(kind: str, point: EntryPoint) -> Any:
    """Import what the entry point names; raises `PluginError` whatever the import raised."""
    failures: list[BaseException] = []
    finder = type("_Chosen", (_Finder,), {"chosen": point})
    try:
        found = finder(
            point.group,
            [point.name],
            on_load_failure_callback=lambda _manager, _point, error: failures.append(error),
            on_missing_entrypoints_callback=None,
        )
    except (AssertionError, SystemExit) as error:  # the two that stevedore lets through besides the operator's Ctrl-C
        failures.append(error)
    if failures:
        said = f"{kind} plugin {point.name!r} of {' '.join(owner(point))} is installed but broken: {_why(failures[0])}"
        raise PluginError(f"{said}; {_remedy(failures[0], owner(point)[0])}") from failures[0]
    return found.extensions[0].plugin


def check(manager: pluggy.PluginManager, plugin: Any, who: str, *, observer: bool) -> None:
    """Register `plugin`; when it does not fit the hook specifications, unregister it and raise `PluginError`."""
    if not inspect.ismodule(plugin):
        raise PluginError(f"{who} does not fit this core: its entry point names no module; upgrade it or remove it")
    try:
        manager.register(plugin)
        manager.check_pending()
        wrong = _misuse(manager, plugin, observer)
        if wrong:
            raise PluginError(f"{who} does not fit this core: {wrong}; upgrade it or remove it")
    except PluginError:
        manager.unregister(plugin)
        raise
    except Exception as error:
        wrong = _mismatch(manager, plugin) or " ".join(str(error).split())
        if manager.is_registered(plugin):
            manager.unregister(plugin)
        raise PluginError(f"{who} does not fit this core: {wrong}; upgrade it or backy-core") from error


def _misuse(manager: pluggy.PluginManager, plugin: Any, observer: bool) -> str | None:
    """What pluggy allows and backy does not: a hook under another name, an observer that answers for a driver."""
    for caller in manager.get_hookcallers(plugin) or ():
        for implementation in caller.get_hookimpls():
            if implementation.plugin is not plugin:
                continue
            if implementation.function.__name__ != caller.name:
                return f"it binds {implementation.function.__name__} to the hook {caller.name} with specname"
            wraps = implementation.wrapper or implementation.hookwrapper
            if observer and caller.spec is not None and caller.spec.opts.get("firstresult") and not wraps:
                return f"an observer may only wrap {caller.name}, not answer it"
    return None


def _mismatch(manager: pluggy.PluginManager, plugin: Any) -> str | None:
    """The first implementation that no specification covers, in words."""
    specs = {name: caller.spec for name, caller in vars(manager.hook).items() if getattr(caller, "spec", None)}
    for name in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, name)
        if options is None:
            continue
        if name not in specs:
            if options.get("optionalhook"):
                continue
            near = get_close_matches(name, specs, 1)
            return f"it implements {name}, which is no hook" + (f" (did you mean {near[0]}?)" if near else "")
        known = set(specs[name].argnames)
        unknown = [one for one in inspect.signature(getattr(plugin, name)).parameters if one not in known]
        if unknown:
            return f"its {name} asks for {', '.join(unknown)}, which the hook does not have"
    return None


def _why(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, ImportError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _remedy(error: BaseException, distribution: str) -> str:
    module = error.name if isinstance(error, ModuleNotFoundError) else None
    if module and not module.startswith("backy_core"):
        return f"install what brings {module.partition('.')[0]}, or reinstall {distribution}"
    return f"upgrade or reinstall {distribution}"
