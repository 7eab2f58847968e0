"""A version's date is told right whichever clock backy2 read it from."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from backy_io_backy2.dates import expires_at, made_at
from hypothesis import given
from hypothesis import strategies as st

from backy_core.errors import SourceError

RANDOM = "0c0b8e1e-6b0b-4c39-9d6e-0a6c3e0f7f55"
MOMENTS = st.datetimes(datetime(2010, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))


def uid_of(moment: datetime) -> str:
    """A UUID of version 1, as backy2 gave them at that moment."""
    ticks = (moment - datetime(1582, 10, 15, tzinfo=UTC)) // timedelta(microseconds=1) * 10
    fields = (ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0xFFF, 0x80, 0, 0x2FC00000001)
    return str(uuid.UUID(fields=fields, version=1))


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@given(MOMENTS, st.integers(-12 * 4, 14 * 4), st.floats(-1, 60), st.booleans())
def test_the_uid_tells_the_zone_of_the_date(moment: datetime, quarters: int, later: float, is_utc: bool) -> None:
    said = moment + timedelta(seconds=later)
    date = f"{said + timedelta(minutes=15 * quarters):%Y-%m-%d %H:%M:%S}"
    assert made_at(date, uid_of(moment), is_utc=is_utc, zone=None) == said.replace(microsecond=0)


@pytest.mark.parametrize("uid", [RANDOM, "no-uuid", uid_of(datetime(2015, 1, 1, tzinfo=UTC))])
@pytest.mark.usefixtures("tokyo")
def test_where_the_uid_says_nothing_the_zone_counts(uid: str) -> None:
    date = "2017-10-03 12:34:56"
    assert made_at(date, uid, is_utc=False, zone=None) == datetime(2017, 10, 3, 3, 34, 56, tzinfo=UTC)
    assert made_at(date, uid, is_utc=False, zone="Europe/Berlin") == datetime(2017, 10, 3, 10, 34, 56, tzinfo=UTC)
    assert made_at(date, uid, is_utc=True, zone="Europe/Berlin") == datetime(2017, 10, 3, 12, 34, 56, tzinfo=UTC)


def test_a_zone_that_the_operator_names_goes_before_the_uid() -> None:
    uid = uid_of(datetime(2017, 10, 3, 12, 34, 55, tzinfo=UTC))
    made = made_at("2017-10-03 12:34:56", uid, is_utc=False, zone="Europe/Berlin")
    assert made == datetime(2017, 10, 3, 10, 34, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    "date", ["", "yesterday", "2017-13-01 00:00:00", "2017-10-03T12:34:56", "2017-10-03 12:34:56 and on"]
)
def test_what_is_no_date_is_refused(date: str) -> None:
    with pytest.raises(SourceError, match="which is no date"):
        made_at(date, RANDOM, is_utc=True, zone=None)
    with pytest.raises(SourceError, match="which is no date"):
        expires_at(date or "x")


@pytest.mark.parametrize("date", ["0001-01-01 00:00:00", "9999-12-31 23:59:59"])
@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_the_ends_of_time_make_no_traceback(date: str, zone: str) -> None:
    with contextlib.suppress(SourceError):
        assert made_at(date, RANDOM, is_utc=False, zone=zone).tzinfo is UTC
    with pytest.raises(SourceError):
        expires_at("9999-12-31")
