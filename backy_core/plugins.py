"""Finds, loads, checks and asks plugins: stevedore finds and loads, pluggy checks and calls, and neither does both.

A driver is loaded only when its name is asked for, observers when the first driver is opened or the first
event told. Whatever is wrong with a plugin becomes one line that names its distribution, its version and the remedy: an
error for a driver, because it was asked for; a logged warning for an observer, because no backup may fail for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

from backy_core.errors import BackyError, InternalError, PluginError
from backy_core.installed import Allowed, PluginInfo, candidates, choose, installed, misfit, owner
from backy_core.locations import normalise, scheme

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["PluginInfo", "Plugins", "installed", "normalise", "scheme"]

_ANSWERS = {
    "open_source": ("backy_core.contracts.source", "Source"),
    "open_target": ("backy_core.contracts.target", "Target"),
    "open_store": ("backy_core.contracts.store", "Store"),
    "open_meta": ("backy_core.contracts.meta", "MetaStore"),
    "new_hash": ("backy_core.contracts.hash", "Hash"),
}
"""What a hook that opens something must answer with; named, so that only the contract in use is imported."""


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A plugin that pluggy has checked and registered."""

    plugin: Any
    kind: str
    name: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


class Plugins:
    """The plugins of one run: loads those that are named, once each, and asks them.

    `only` is an allow-list, see `backy_core.installed.Allowed`. `choices` maps `kind.name` to the distribution that is
    used when several claim that name. Not for use by several threads at once.
    """

    def __init__(self, only: Sequence[str] | None = None, choices: Mapping[str, str] | None = None) -> None:
        import pluggy

        from backy_core import hooks

        self._allowed = Allowed(only)
        self._choices = dict(choices or {})
        self._manager = pluggy.PluginManager("backy")
        self._manager.add_hookspecs(hooks)
        self._drivers: dict[tuple[str, str], _Admitted] = {}
        self._observers: list[_Admitted] | None = None

    def settings_type(self, kind: str, name: str) -> type[Any] | None:
        """The dataclass that checks the settings of this driver, None when it has no settings. Imports no SDK."""
        if kind == "hash":
            return None
        driver = self._driver(kind, name)
        hook = f"{kind}_settings"
        answer = self._ask(driver, hook, {}) if callable(getattr(driver.plugin, hook, None)) else None
        if answer is not None and not (isinstance(answer, type) and is_dataclass(answer)):
            raise PluginError(self._broken(driver, hook, f"answered with {_described(answer)}, not a dataclass"))
        return answer

    def open(self, kind: str, name: str, hook: str, /, **said: Any) -> Any:
        """Ask the one driver `name` to open something; wrappers of observers may dress what it answers.

        Errors of the driver's own (`BackyError`) pass as they are. Raises `PluginError` when the driver is missing or
        unfit, does not have this hook, fails with any other exception, or answers with the wrong thing.
        """
        import importlib

        driver = self._driver(kind, name)
        self._load_observers()
        answer = self._ask(driver, hook, said)
        module, contract = _ANSWERS[hook]
        if not isinstance(answer, getattr(importlib.import_module(module), contract)):
            raise PluginError(self._broken(driver, hook, f"answered with {_described(answer)}, not a {contract}"))
        return answer

    def notify(self, hook: str, /, **said: Any) -> None:
        """Tell every observer. One that raises is named in a logged warning; the others are told all the same."""
        for observer in self._load_observers():
            try:
                self._caller(hook, [observer])(**said)
            except Exception as error:  # noqa: BLE001 - an observer must never fail a backup, whatever it raises
                _warn(f"{observer} failed in {hook}: {_reason(error)}; upgrade it or remove it", error)

    def _driver(self, kind: str, name: str) -> _Admitted:
        known = self._drivers.get((kind, name))
        if known is None:
            known = self._drivers[kind, name] = self._admit(kind, self._find(kind, name))
        return known

    def _find(self, kind: str, name: str) -> EntryPoint:
        """The entry point of a driver, newest spoken API version first; raises `PluginError`, having imported none."""
        from backy_core.hooks import SPOKEN
        from backy_core.remedies import missing

        offered = candidates(kind, name)
        left_out: list[str] = []
        for api in SPOKEN[kind]:
            fit: list[EntryPoint] = []
            for point in offered.get(api, ()):
                if where := self._allowed.refusal(kind, name, owner(point)[0]):
                    left_out.append(f"{' '.join(owner(point))} is left out by {where}: add {kind}:{name} there")
                else:
                    fit.append(point)
            if fit:
                return choose(fit, kind, name, self._choices)
        if left_out:
            raise PluginError(f"{kind} plugin {name!r} of {left_out[0]}")
        if offered:
            newest = next(iter(offered.values()))[0]
            raise PluginError(f"{' '.join(owner(newest))} {misfit(kind, {api: p[0] for api, p in offered.items()})}")
        raise PluginError(missing(kind, name))

    def _load_observers(self) -> list[_Admitted]:
        if self._observers is None:
            from backy_core.hooks import SPOKEN

            self._observers = []
            served: set[tuple[str, str]] = set()
            for api in SPOKEN["hooks"]:
                for point in candidates("hooks").get(api, ()):
                    distribution = owner(point)[0]
                    if (distribution, point.name) in served:
                        continue  # it offers an older API version besides
                    served.add((distribution, point.name))
                    if self._allowed.refusal("hooks", point.name, distribution):
                        continue
                    try:
                        observer = self._admit("hooks", point)
                        if all(observer.plugin is not known.plugin for known in self._observers):
                            self._observers.append(observer)
                    except PluginError as error:
                        _warn(f"{error}; going on without it", error)
        return self._observers

    def _admit(self, kind: str, point: EntryPoint) -> _Admitted:
        """Load the plugin (stevedore), register it (pluggy); raises `PluginError` and leaves no trace of a bad one."""
        from backy_core.admission import check, load

        distribution, version = owner(point)
        plugin = load(kind, point)
        admitted = _Admitted(plugin, kind, point.name, distribution, version)
        if self._manager.is_registered(plugin):  # one plugin may answer to two schemes
            if kind == "hooks" and any(driver.plugin is plugin for driver in self._drivers.values()):
                raise PluginError(
                    f"{admitted} observes from its driver's module: it needs a module of its own for that"
                )
        else:
            check(self._manager, admitted.plugin, str(admitted), observer=kind == "hooks")
        return admitted

    def _caller(self, hook: str, asked: Sequence[_Admitted]) -> Callable[..., Any]:
        wanted = [one.plugin for one in asked]
        others = [plugin for plugin in self._manager.get_plugins() if plugin not in wanted]
        return self._manager.subset_hook_caller(hook, others)

    def _ask(self, driver: _Admitted, hook: str, said: dict[str, Any]) -> Any:
        if not hasattr(self._manager.hook, hook):
            raise InternalError(f"there is no hook {hook}")
        if not callable(getattr(driver.plugin, hook, None)):
            raise PluginError(
                f"{driver.kind} plugin {driver.name!r} of {driver} has no {hook}; upgrade it or remove it"
            )
        try:
            return self._caller(hook, [driver, *(self._observers or ())])(**said)
        except BackyError:
            raise
        except Exception as error:
            raise PluginError(self._broken(driver, hook, f"failed: {_reason(error)}")) from error

    def _broken(self, driver: _Admitted, hook: str, what: str) -> str:
        wrapping = [str(one) for one in self._observers or () if hasattr(one.plugin, hook)]
        dressed = f", wrapped by {' and '.join(wrapping)}," if wrapping else ""
        return (
            f"{driver.kind} plugin {driver.name!r} of {driver}{dressed} is broken: {hook} {what};"
            f" upgrade {'them' if wrapping else 'it'} or remove {'them' if wrapping else 'it'}"
        )


def _described(answer: Any) -> str:
    return "nothing" if answer is None else f"a {type(answer).__name__}"


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _warn(message: str, error: BaseException) -> None:
    import logging

    logger = logging.getLogger("backy_core.plugins")
    logger.warning("%s", message)
    logger.debug("where it came from", exc_info=error)
