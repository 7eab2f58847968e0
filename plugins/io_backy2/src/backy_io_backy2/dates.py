"""What the dates of an export mean: when a version was made, and when it may be let go."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, tzinfo

from backy_core.errors import SourceError

__all__ = ["expires_at", "made_at"]

_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)
_QUARTER = timedelta(minutes=15)
"""Every zone's distance to UTC is a multiple of this."""
_FARTHEST = timedelta(hours=14)


def made_at(date: str, uid: str, *, is_utc: bool, zone: str | None) -> datetime:
    """When the version was made, in UTC; raises `SourceError` for what is no date.

    Which clock `date` was read from depends on backy2's version, its database and its host's zone. But the uid is a
    UUID that has the time in it, in UTC, so the zone shows in the distance between the two. Where the operator names a
    zone, or the uid says nothing, `is_utc` (true since format 2.10), else `zone`, else this host's zone counts.
    """
    try:
        naive = datetime.strptime(date, "%Y-%m-%d %H:%M:%S")
        if is_utc or zone is None:
            distance = _distance(naive.replace(tzinfo=UTC), uid)
            if distance is not None:
                return naive.replace(tzinfo=UTC) - distance
        return naive.replace(tzinfo=UTC if is_utc else _zone(zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise SourceError(f"the export says that the version was made at {date[:40]!r}, which is no date") from error


def expires_at(day: str) -> datetime | None:
    """The end of the day (UTC) after which the version may be let go: an export has no more than the day."""
    if not day:
        return None
    try:
        return datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise SourceError(f"the export says that the version expires at {day[:40]!r}, which is no date") from error


def _distance(said: datetime, uid: str) -> timedelta | None:
    """How far the zone that `said` was read in is from UTC, None when the uid does not tell."""
    try:
        unique = uuid.UUID(uid)
    except ValueError:
        return None
    if unique.version != 1:
        return None
    distance = said - (_EPOCH + timedelta(microseconds=unique.time // 10))
    # The date is a little later than the uid, or, being cut to seconds, earlier.
    zone = round(distance / _QUARTER) * _QUARTER
    return zone if abs(zone) <= _FARTHEST and abs(distance - zone) < timedelta(minutes=5) else None


def _zone(name: str | None) -> tzinfo | None:
    """The zone of that name; None, which datetime takes for this host's, for None."""
    if name is None:
        return None
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)
