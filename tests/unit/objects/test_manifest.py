"""Manifests and attributes say the same when they are read back, and nobody else's pass for them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backy_core.errors import ObjectCorrupt
from backy_core.model import (
    Attributes,
    BackupStatistics,
    Protection,
    Segment,
    SegmentPiece,
    Version,
    VersionState,
)
from backy_core.objects.manifest import attributes_content, manifest_content, read_attributes, read_manifest

UID = "0123456789abcdef"
NOW = datetime(2026, 11, 25, 3, 0, 0, 123456, tzinfo=UTC)
MOMENTS = st.datetimes(timezones=st.just(UTC))
ATTRIBUTES = st.builds(
    Attributes,
    tags=st.sets(st.text(min_size=1, max_size=9)).map(lambda tags: tuple(sorted(tags))),
    protected=st.one_of(st.none(), st.builds(Protection, st.text(), st.text(), st.one_of(st.none(), MOMENTS))),
    expires=st.one_of(st.none(), MOMENTS),
)
VERSION = Version(
    uid=UID,
    volume="vm-1",
    state=VersionState.VALID,
    size=10 * 4096 + 1,
    block_size=4096,
    lineage=3,
    birth=7,
    created=NOW,
    finished=NOW + timedelta(seconds=5),
    source="file:///dev/vg/vm-1",
    identity="snap-7",
    base_uid="fedcba9876543210",
    statistics=BackupStatistics(read_bytes=5, duration_seconds=1.25),
    parent=(1, 4),
    attributes=Attributes(("a", "b"), Protection("why", "me", NOW), NOW),
)
SEGMENTS = (
    Segment(0, 0, 11, (SegmentPiece(b"d" * 32, b"n" * 8, 100, 0), SegmentPiece(b"e" * 32, b"m" * 8, 50, 6))),
    Segment(3, 6, 2, (SegmentPiece(b"f" * 32, b"o" * 8, 70, 1),)),
)


def test_a_manifest_is_read_back() -> None:
    content = manifest_content(VERSION, SEGMENTS, b"p" * 32)
    found = read_manifest(content, UID, b"digest")
    assert found.version == replace(VERSION, manifest=b"digest")
    assert found.previous == b"p" * 32
    assert [(one.lineage, one.since, one.entries, one.pieces) for one in found.segments] == [
        (one.lineage, one.since, one.entries, tuple((piece.digest, piece.first) for piece in one.pieces))
        for one in SEGMENTS
    ]


def test_the_same_version_has_the_same_manifest_whatever_the_time_zone() -> None:
    east = timezone(timedelta(hours=5))
    moved = replace(VERSION, created=VERSION.created.astimezone(east))
    assert manifest_content(moved, SEGMENTS, None) == manifest_content(VERSION, SEGMENTS, None)


def test_nonces_are_not_in_a_manifest() -> None:
    """A healed piece has another one."""
    assert (b"n" * 8).hex().encode() not in manifest_content(VERSION, SEGMENTS, None)


@given(ATTRIBUTES, st.integers(1, 10**9))
def test_attributes_are_read_back(attributes: Attributes, serial: int) -> None:
    content = attributes_content(UID, serial, attributes)
    assert read_attributes(content, UID, serial) == attributes


@pytest.mark.parametrize(("uid", "serial"), [("0" * 16, 3), (UID, 2), (UID, 4)])
def test_attributes_of_another_version_or_serial_are_refused(uid: str, serial: int) -> None:
    content = attributes_content(UID, 3, VERSION.attributes)
    with pytest.raises(ObjectCorrupt):
        read_attributes(content, uid, serial)


def test_a_manifest_of_another_version_is_refused() -> None:
    with pytest.raises(ObjectCorrupt, match="another object lies in its place"):
        read_manifest(manifest_content(VERSION, SEGMENTS, None), "0" * 16, b"")


@pytest.mark.parametrize("name", sorted(json.loads(manifest_content(VERSION, SEGMENTS, None))))
@pytest.mark.parametrize("value", [None, -1, "x", [], {}, 1.5, True, [[1]], [{"pieces": [["zz", 0]]}]])
def test_a_manifest_with_a_wrong_field_is_refused_or_means_that(name: str, value: Any) -> None:
    said = json.loads(manifest_content(VERSION, SEGMENTS, None))
    said[name] = value
    try:
        read_manifest(json.dumps(said).encode(), UID, b"")
    except ObjectCorrupt:
        return
    allowed = {
        "parent": (None,),
        "base": (None, "x"),
        "identity": (None, "x"),
        "source": ("x",),
        "volume": ("x",),
        "previous": (None,),
        "statistics": (None, {}),
        "segments": ([], {}),
    }
    assert value in allowed.get(name, ())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"1", b'{"backy": "attributes"}', b"[" * 100_000, b"\xff"])
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(ObjectCorrupt):
        read_manifest(content, UID, b"")
    with pytest.raises(ObjectCorrupt):
        read_attributes(content, UID, 1)
