"""Which plugins are installed, told from the metadata of the distributions alone: no plugin is imported.

The entry points are read through `importlib.metadata` once in a process. The file cache that stevedore keeps under the
user's cache directory is passed by: it drops who owns an entry point, it does not notice a reinstallation within about
two minutes (its time stamps are 32-bit floats), a damaged file in it fails every command, and it would let whoever can
write below `$HOME` name the modules that a command run by root imports.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from backy_core.errors import ConfigurationError, PluginError

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

__all__ = ["Allowed", "PluginInfo", "candidates", "choose", "installed", "owner"]

OWN = "backy-core"
"""The core's own backends are entry points of this distribution and are found like everybody's."""

_GROUP = re.compile(r"backy_core\.([a-z_]+)\.v([0-9]+)")


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One plugin of one distribution. `api`: the version it would be used with, else the newest that it offers.

    `problem` is None, or one line that says why this core will not use it.
    """

    kind: str
    name: str
    distribution: str
    version: str
    api: int
    problem: str | None = None


class Allowed:
    """The allow-list: entry points are code that a nightly run imports as root, so an operator may name them all.

    An entry is the name of a distribution (`backy-store-s3`), or a plugin as `kind:name` (`store:s3`). A plugin has to
    pass both lists: the one given (from the settings: `[plugins] only = [...]`; None is no list, an empty one lets
    nothing pass) and the environment variable `BACKY_PLUGINS` (separated by commas or spaces; unset or empty is no
    list). The core's own backends are always allowed.
    """

    def __init__(self, only: Sequence[str] | None = None) -> None:
        self.lists: list[tuple[str, frozenset[str]]] = []
        if only is not None:
            self.lists.append(("[plugins] only", frozenset(map(canonical, only))))
        environment = os.environ.get("BACKY_PLUGINS", "").replace(",", " ").split()
        if environment:
            self.lists.append(("BACKY_PLUGINS", frozenset(map(canonical, environment))))

    def refusal(self, kind: str, name: str, distribution: str) -> str | None:
        """None when the plugin may be used, else the name of the list that leaves it out."""
        for where, entries in self.lists:
            if canonical(distribution) != OWN and not {canonical(distribution), f"{kind}:{name}"} & entries:
                return where
        return None


def canonical(name: str) -> str:
    """A distribution's name in its one spelling (PEP 503); `kind:name` is left as it is."""
    return name if ":" in name else re.sub(r"[-_.]+", "-", name).lower()


def owner(point: EntryPoint) -> tuple[str, str]:
    """The name and version of the distribution that an entry point belongs to, as well as they can be told."""
    distribution = getattr(point, "dist", None)
    name = version = None
    with suppress(KeyError, OSError, ValueError):  # a dist-info folder without a readable METADATA, by Python version
        name, version = getattr(distribution, "name", None), getattr(distribution, "version", None)
    return name or point.value.partition(":")[0].partition(".")[0], version or "of unknown version"


def candidates(kind: str, name: str | None = None) -> dict[int, list[EntryPoint]]:
    """The entry points of a kind (and name), by API version, newest first, spoken by this core or not."""
    found: dict[int, list[EntryPoint]] = {}
    for point in _all_points(tuple(sys.path)):
        match = _GROUP.fullmatch(point.group)
        if match and match[1] == kind and name in (None, point.name):
            found.setdefault(int(match[2]), []).append(point)
    return {api: found[api] for api in sorted(found, reverse=True)}


def choose(points: Iterable[EntryPoint], kind: str, name: str, choices: Mapping[str, str]) -> EntryPoint:
    """The one entry point among those of a group that have the same name; raises `PluginError` when that is unclear.

    `choices` maps `kind.name` to a distribution: the operator's word in the settings, `[plugins] store.s3 = "..."`.
    """
    owned = {canonical(owner(point)[0]): point for point in points}
    wanted = choices.get(f"{kind}.{name}")
    if wanted is not None:
        if canonical(wanted) not in owned:
            offering = ", ".join(" ".join(owner(point)) for point in owned.values())
            raise ConfigurationError(
                f"the setting [plugins] {kind}.{name} names {wanted}, but {kind} plugin {name!r} comes from {offering};"
                " correct it or remove it"
            )
        return owned[canonical(wanted)]
    if len(owned) > 1:
        raise PluginError(_ambiguity(kind, name, list(owned.values())))
    return next(iter(owned.values()))


def _ambiguity(kind: str, name: str, points: Sequence[EntryPoint]) -> str:
    owners = sorted(owner(point) for point in points)
    claimants = " and ".join(" ".join(one) for one in owners)
    return (
        f"{kind} plugin {name!r} is claimed by {claimants}: remove one,"
        f' or set [plugins] {kind}.{name} = "{owners[0][0]}" in the settings'
    )


def installed(only: Sequence[str] | None = None, choices: Mapping[str, str] | None = None) -> list[PluginInfo]:
    """Every plugin of every installed distribution, sorted by kind, name and distribution. Imports none of them."""
    from backy_core.hooks import KINDS, SPOKEN

    allowed, chosen = Allowed(only), choices or {}
    infos: list[PluginInfo] = []
    for kind in KINDS:
        offers: dict[tuple[str, str], dict[int, EntryPoint]] = {}
        for api, points in candidates(kind).items():
            for point in points:
                offers.setdefault((point.name, owner(point)[0]), {})[api] = point
        for (name, distribution), by_api in offers.items():
            spoken = [api for api in SPOKEN[kind] if api in by_api]
            problem = None
            if not spoken:
                problem = misfit(kind, by_api)
            elif where := allowed.refusal(kind, name, distribution):
                problem = f"left out by {where}"
            elif kind != "hooks":  # any number of observers may have the same name
                rivals = [
                    by_api[spoken[0]] if other == distribution else offers[same, other][spoken[0]]
                    for same, other in offers
                    if same == name and spoken[0] in offers[same, other] and not allowed.refusal(kind, name, other)
                ]
                problem = _rivalry(rivals, kind, name, distribution, chosen)
            version = owner(next(iter(by_api.values())))[1]
            infos.append(PluginInfo(kind, name, distribution, version, (spoken or [*by_api])[0], problem))
    return sorted(infos, key=lambda info: (KINDS.index(info.kind), info.name, canonical(info.distribution)))


def _rivalry(
    rivals: Sequence[EntryPoint], kind: str, name: str, distribution: str, choices: Mapping[str, str]
) -> str | None:
    try:
        winner = choose(rivals, kind, name, choices)
    except (PluginError, ConfigurationError) as error:
        return str(error)
    return None if owner(winner)[0] == distribution else f"[plugins] {kind}.{name} chose {owner(winner)[0]}"


def misfit(kind: str, by_api: Mapping[int, EntryPoint]) -> str:
    """Why none of these API versions will do, and which side to upgrade. `by_api` is newest first."""
    from backy_core.hooks import SPOKEN

    spoken, offered = SPOKEN[kind], list(by_api)
    name = owner(by_api[offered[0]])[0]
    too_old = max(offered) < min(spoken)
    return (
        f"speaks {kind} {', '.join(f'v{api}' for api in offered)}, this core speaks"
        f" {', '.join(f'v{api}' for api in spoken)}: upgrade {name if too_old else OWN}"
    )


@cache
def _all_points(_path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points of all groups of this program, read once for each value of `sys.path`."""
    from importlib.metadata import distributions, entry_points

    try:
        everything = entry_points()
        # A mapping of groups in Python 3.11, a flat tuple later; these two work on both.
        return tuple(
            point
            for group in everything.groups
            if group.startswith("backy_core.")
            for point in everything.select(group=group)
        )
    except Exception:  # noqa: BLE001 - one unreadable entry_points.txt must not take everybody down with it
        seen: dict[str, Distribution] = {}
        for distribution in distributions():
            name = canonical(str(distribution.metadata["Name"] or ""))
            seen.setdefault(name, distribution)
        return tuple(point for distribution in seen.values() for point in _points_of(distribution))


def _points_of(distribution: Distribution) -> list[EntryPoint]:
    try:
        return [point for point in distribution.entry_points if point.group.startswith("backy_core.")]
    except Exception:  # noqa: BLE001 - whatever is wrong with that file, it is not ours to mend
        return []
