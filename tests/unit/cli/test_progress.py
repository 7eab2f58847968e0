"""How long work shows that it goes on."""

from __future__ import annotations

import json

import pytest

from backy_core.cli.invocation import Invocation
from backy_core.cli.progress import Paced, plain_line, showing_progress
from backy_core.reports import Progress

MIB = 1024 * 1024


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_at_most_one_moment_per_interval_is_passed_on() -> None:
    clock, said = Clock(), []
    with Paced(5.0, lambda moment, seconds: said.append((moment.done, seconds)), clock) as paced:
        for second in range(12):
            clock.now = float(second)
            paced.see(Progress("read", second, 12))
    assert said == [(5, 5.0), (10, 10.0), (11, 11.0)]


def test_short_work_says_nothing() -> None:
    clock, said = Clock(), []
    with Paced(5.0, lambda moment, _: said.append(moment), clock) as paced:
        paced.see(Progress("read", 1, 2))
        clock.now = 4.9
        paced.see(Progress("read", 2, 2))
    assert said == []


def test_the_end_of_a_phase_is_passed_on_before_the_next_begins() -> None:
    clock, said = Clock(), []
    with Paced(1.0, lambda moment, seconds: said.append((moment.phase, moment.done, seconds)), clock) as paced:
        paced.see(Progress("purge", 0, 4))
        clock.now = 1.5
        paced.see(Progress("purge", 3, 4))
        paced.see(Progress("purge", 4, 4))
        clock.now = 2.0
        paced.see(Progress("doom", 0, None))
    assert said == [("purge", 3, 1.5), ("purge", 4, 2.0)]


@pytest.mark.parametrize(
    ("moment", "seconds", "line"),
    [
        (Progress("read", MIB, 4 * MIB, 1536), 2.0, "read: 1.0 MiB of 4.0 MiB (25 %), 1.5 KiB stored, 2.0 s"),
        (Progress("restore", MIB, None, 512), 61, "restore: 1.0 MiB, 512 B from the store, 1 min 01 s"),
        (Progress("delete", 3, 10), 0.5, "delete: 3 of 10 (30 %), 0.5 s"),
        (Progress("purge", 0, 0), 0, "purge: 0, 0.0 s"),
    ],
)
def test_a_plain_line_tells_how_far_it_is(moment: Progress, seconds: float, line: str) -> None:
    assert plain_line(moment, seconds) == line


def test_ndjson_always_ends_with_the_last_moment(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(Invocation(progress="json")) as progress:
        progress(Progress("read", 1, 2, 7))
        progress(Progress("read", 2, 2, 9))
    shown = capsys.readouterr()
    last = json.loads(shown.err.splitlines()[-1])
    assert shown.out == ""
    assert isinstance(last.pop("seconds"), float)
    assert last == {"schema": 1, "event": "progress", "phase": "read", "done": 2, "total": 2, "stored_bytes": 9}


def test_none_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(Invocation(progress="none")) as progress:
        progress(Progress("read", 1, 2))
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_auto_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(Invocation()) as progress:
        progress(Progress("read", 1, 2))
    assert capsys.readouterr() == ("", "")


def test_the_bar_shows_phase_and_amounts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with showing_progress(Invocation(progress="bar")) as progress:
        progress(Progress("read", MIB, 4 * MIB, 1024))
        progress(Progress("read", 4 * MIB, 4 * MIB, 2048))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "read" in shown.err
    assert "4.0 MiB / 4.0 MiB, 2.0 KiB stored" in shown.err
