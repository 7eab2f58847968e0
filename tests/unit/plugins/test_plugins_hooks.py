"""Every hook reaches a third party's package with what the specification says, and its answer comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Child = Callable[..., Any]
Install = Callable[..., Path]


@pytest.mark.parametrize(
    ("kind", "hook", "said", "heard"),
    [
        ("io", "open_source", {"location": "kinds://s", "settings": 1}, ("kinds://s", 1)),
        (
            "io",
            "open_target",
            {"location": "kinds://t", "settings": 1, "size": 2, "force": True, "source": "kinds://s"},
            ("kinds://t", 1, 2, True, "kinds://s"),
        ),
        ("meta", "open_meta", {"location": "kinds://m", "settings": 1, "create": True}, ("kinds://m", 1, True)),
        ("hash", "new_hash", {"name": "kinds"}, ("kinds",)),
    ],
)
def test_a_driver_hears_all_that_the_hook_says(
    install: Install, child: Child, kind: str, hook: str, said: dict[str, Any], heard: tuple[Any, ...]
) -> None:
    ended = child(f"print(Plugins().open({kind!r}, 'kinds', {hook!r}, **{said!r}).said)", install("acme-kinds"))
    assert (ended.code, ended.out, ended.err) == (0, f"{heard!r}\n", "")


@pytest.mark.parametrize(("kind", "hook"), [("io", "io_settings"), ("meta", "meta_settings")])
def test_a_driver_answers_with_its_settings(install: Install, child: Child, kind: str, hook: str) -> None:
    code = f"print(Plugins().settings_type({kind!r}, 'kinds')().pool, {hook!r} in dir(sys.modules['acme_kinds']))"
    ended = child(code, install("acme-kinds"))
    assert (ended.code, ended.out, ended.err) == (0, "a True\n", "")


def test_a_hash_has_no_settings_and_is_not_imported_to_say_so(install: Install, child: Child) -> None:
    ended = child("print(Plugins().settings_type('hash', 'kinds'), 'acme_kinds' in sys.modules)", install("acme-kinds"))
    assert (ended.code, ended.out, ended.err) == (0, "None False\n", "")


def test_an_observer_hears_of_damage_and_of_versions(install: Install, child: Child) -> None:
    code = """
from backy_core.model import Damage, DamageKind
p = Plugins()
p.notify("damage_found", facts=Damage(DamageKind.CORRUPT, "c/00/00-11", "bit flip"))
p.notify("version_finished", facts=None)
"""
    ended = child(code, install("acme-kinds"))
    assert (ended.code, ended.out) == (0, "damage: c/00/00-11\nfinished, and no more was asked\n")
    assert ended.err == ""


def test_a_driver_that_observes_from_its_own_module_still_drives(install: Install, child: Child) -> None:
    code = """
p = Plugins()
print(p.open('store', 'self', 'open_store', location='x://y', settings=None, create=False).location)
print(p.open('store', 'fine', 'open_store', location='x://z', settings=None, create=False).settings)
"""
    ended = child(code, install("acme-fine", "acme-selfwatch"))
    assert (ended.code, ended.out) == (0, "x://y\nNone\n")
    assert ended.err == (
        "acme-selfwatch 1.0.0 observes from its driver's module: it needs a module of its own for that;"
        " going on without it\n"
    )


def test_a_hook_that_does_not_exist_is_a_fault_of_backy(install: Install, child: Child) -> None:
    ended = child("Plugins().open('store', 'fine', 'open_sesame')", install("acme-fine"))
    assert (ended.code, ended.err) == (1, "backy: there is no hook open_sesame\n")
