"""Observers of third parties, installed for real: told of events, wrapping what is opened, never in the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Child = Callable[..., Any]
Install = Callable[..., Path]

NOTIFY = """
from types import SimpleNamespace
Plugins().notify('version_finished', facts=SimpleNamespace(volume='vm-42'))
print('went on')
"""
OPEN = """
store = Plugins().open('store', 'fine', 'open_store', location='x://y', settings=None, create=False)
print(store.location)
"""
BROKEN = (
    "hooks plugin 'a-broken' of acme-bothers 0.9.0 is installed but broken: No module named 'sdk_of_acme';"
    " install what brings sdk_of_acme, or reinstall acme-bothers; going on without it\n"
)
THIEF = (
    "acme-bothers 0.9.0 does not fit this core: an observer may only wrap open_store, not answer it;"
    " upgrade it or remove it; going on without it\n"
)
RAISES = "acme-bothers 0.9.0 failed in version_finished: RuntimeError: full disk; upgrade it or remove it\n"


def test_an_event_is_told_to_every_observer(install: Install, child: Child) -> None:
    ended = child(NOTIFY, install("acme-writes"))
    assert (ended.code, ended.out, ended.err) == (0, "went on\n", "told vm-42\n")


def test_an_event_without_observers_is_told_to_nobody(child: Child) -> None:
    ended = child(NOTIFY)
    assert (ended.code, ended.out, ended.err) == (0, "went on\n", "")


def test_observers_that_fail_are_each_named_in_one_line_and_the_others_told_all_the_same(
    install: Install, child: Child
) -> None:
    ended = child(NOTIFY, install("acme-bothers", "acme-writes"))
    assert (ended.code, ended.out) == (0, "went on\n")
    assert sorted(ended.err.splitlines(True)) == sorted([BROKEN, THIEF, RAISES, "told vm-42\n"])


def test_an_observer_wraps_what_a_driver_opens(install: Install, child: Child) -> None:
    ended = child(OPEN, install("acme-fine", "acme-wraps"))
    assert (ended.code, ended.out, ended.err) == (0, "wrapped x://y\n", "")


def test_an_observer_cannot_answer_in_a_drivers_place(install: Install, child: Child) -> None:
    ended = child(OPEN, install("acme-fine", "acme-bothers"))
    assert (ended.code, ended.out) == (0, "x://y\n")
    assert sorted(ended.err.splitlines(True)) == sorted([BROKEN, THIEF])


def test_a_wrapper_is_named_when_what_it_wraps_fails(install: Install, child: Child) -> None:
    ended = child(OPEN.replace("fine", "nonsense"), install("acme-zoo", "acme-fine", "acme-wraps"))
    assert ended.code == 8
    assert ended.err == (
        "backy: store plugin 'nonsense' of acme-zoo 3.1.4, wrapped by acme-wraps 1.0.0, is broken: open_store failed:"
        " AttributeError: 'str' object has no attribute 'location'; upgrade them or remove them\n"
    )


def test_observers_stay_out_where_the_allow_list_leaves_them_out(install: Install, child: Child) -> None:
    ended = child(NOTIFY, install("acme-bothers", "acme-writes"), BACKY_PLUGINS="hooks:writes")
    assert (ended.code, ended.out, ended.err) == (0, "went on\n", "told vm-42\n")


def test_observers_are_not_imported_for_a_look_at_the_settings(install: Install, child: Child) -> None:
    code = "Plugins().settings_type('store', 'fine'); print('acme_bothers' in sys.modules)"
    assert child(code, install("acme-fine", "acme-bothers")).out == "False\n"
