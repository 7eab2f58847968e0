"""What to say when a plugin is missing: which package brings it, what was probably meant, what is there."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from backy_core.installed import candidates

__all__ = ["missing"]

_WHAT = {"io": "source or target", "store": "store", "meta": "metadata store", "hash": "hash", "hooks": "observer"}


def missing(kind: str, name: str) -> str:
    """One line for a plugin that is not installed, ending with the next step."""
    from backy_core.hooks import SPOKEN

    hints = _hints()
    said = _as_typed(kind, name)
    package = hints.get(kind, {}).get(name)
    if package:
        return f"{said} needs the package {package}: {hints['install'].format(package=package)}"
    present = sorted({point.name for api in SPOKEN[kind] for point in candidates(kind).get(api, ())})
    if meant := _near(name, [*present, *hints.get(kind, {})]):
        package = "" if meant in present else f" of the package {hints[kind][meant]}"
        return f"no {_WHAT[kind]} plugin for {said}; did you mean {_as_typed(kind, meant)}{package}? {_listed(present)}"
    for other in ("io", "store", "meta"):
        if other != kind and (name in hints.get(other, {}) or any(candidates(other, name).values())):
            return f"{said} is a {_WHAT[other]}, not a {_WHAT[kind]}; {_listed(present)}"
    return f"no {_WHAT[kind]} plugin for {said}; install the package that brings it; {_listed(present)}"


def _as_typed(kind: str, name: str) -> str:
    return f"hash {name}" if kind == "hash" else f"{name.replace('.', '+')}://"


def _listed(present: list[str]) -> str:
    return f"installed: {', '.join(present) or 'none'}"


def _near(name: str, known: list[str]) -> str | None:
    from difflib import get_close_matches

    # Letters that changed places (`rdb`) are what people type; difflib thinks little of them in short words.
    twisted = [one for one in known if sorted(one) == sorted(name)]
    return next(iter(twisted or get_close_matches(name, known, 1, cutoff=0.6)), None)


@cache
def _hints() -> dict[str, Any]:
    return tomllib.loads(files("backy_core").joinpath("install_hints.toml").read_text("utf-8"))
