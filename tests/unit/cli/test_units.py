"""Sizes, times and durations as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backy_core.cli.units import (
    human_duration,
    human_extent,
    human_location,
    human_size,
    local_time,
    one_line,
    utc_time,
)
from backy_core.model import Extent


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1023.9 KiB"),
        (13 * 1024**2, "13.0 MiB"),
        (10 * 1024**4, "10.0 TiB"),
        (2**70, "1024.0 EiB"),
    ],
)
def test_a_size_is_shown_in_binary_units(size: int, shown: str) -> None:
    assert human_size(size) == shown


@given(st.integers(min_value=0, max_value=2**66))
def test_a_size_is_never_shown_larger_than_it_is(size: int) -> None:
    number, unit = human_size(size).split()
    power = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB").index(unit)
    whole, _, tenth = number.partition(".")
    shown_in_tenths = int(whole) * 10 + int(tenth or 0)
    assert shown_in_tenths * 1024**power <= size * 10 < (shown_in_tenths + (1 if power else 10)) * 1024**power


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (3.21, "3.2 s"), (60, "1 min 00 s"), (3599.9, "59 min 59 s"), (7620, "2 h 07 min")],
)
def test_a_duration_is_shown_as_one_would_say_it(seconds: float, shown: str) -> None:
    assert human_duration(seconds) == shown


def test_times_are_local_with_offset_on_screen_and_utc_with_z_for_programs() -> None:
    moment = datetime(2026, 11, 20, 23, 30, 5, 123456, timezone(timedelta(hours=2)))
    assert utc_time(moment) == "2026-11-20T21:30:05.123Z"
    assert datetime.fromisoformat(local_time(moment)) == moment.replace(microsecond=0)
    assert datetime.fromisoformat(local_time(moment)).utcoffset() == moment.astimezone().utcoffset()
    assert utc_time(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"


def test_a_damaged_range_is_shown_in_bytes_hexadecimal_and_words() -> None:
    assert human_extent(Extent(8 * 1024**2, 4 * 1024**2)) == (
        "offset 8388608 (0x800000, 8.0 MiB), length 4194304 (0x400000, 4.0 MiB)"
    )


def test_what_a_name_contains_does_not_reach_the_terminal_as_a_command() -> None:
    assert one_line("a\nb\t c") == "a b c"
    assert one_line("red \x1b[31m") == "red \\x1b[31m"
    assert one_line("grün") == "grün"


@given(st.text())
def test_one_line_is_one_printable_line(text: str) -> None:
    assert one_line(text).isprintable()


def test_a_file_is_shown_as_a_path_and_anything_else_as_its_url() -> None:
    assert human_location("file:///srv/my%20disk.img") == "/srv/my disk.img"
    assert human_location("rbd://pool/image@snap%20shot") == "rbd://pool/image@snap%20shot"
    assert human_location("") == ""
