"""File URLs: every name a file can have goes through, and what cannot be meant is refused."""

from __future__ import annotations

import os

import pytest
from backy_io_file.paths import location_of, path_of, shown
from hypothesis import given
from hypothesis import strategies as st

from backy_core.errors import InvalidInput


@given(st.binary(min_size=0, max_size=60).filter(lambda name: b"\0" not in name))
def test_every_possible_file_name_survives_the_way_to_a_url_and_back(name: bytes) -> None:
    path = os.fsdecode(b"/" + name)
    location = location_of(path)
    assert location.isascii()
    assert path_of(location) == path


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("file:///images/vm-42.img", "/images/vm-42.img"),
        ("FILE:///a%20b%25%3F%23c", "/a b%?#c"),
        ("file:///plain space", "/plain space"),
        ("file:///%C3%A9/é", "/é/é"),
        ("file:////two", "//two"),
        ("file:///trailing%0A", "/trailing\n"),
    ],
)
def test_percent_escapes_are_decoded_and_nothing_else_is_changed(location: str, path: str) -> None:
    assert path_of(location) == path


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("file://server/disk.img", "host"),
        ("file://localhost/disk.img", "host"),
        ("file://", "host"),
        ("file:disk.img", "no file URL"),
        ("rbd://pool/image", "no file URL"),
        ("file:///disk.img?direct=1", "%3F"),
        ("file:///disk.img#part", "%23"),
        ("file:///100%", "%25"),
        ("file:///100%zz", "%25"),
        ("file:///a%00b", "zero byte"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_remedy(location: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        path_of(location)


def test_a_name_that_would_break_a_message_is_shown_escaped() -> None:
    assert shown("/a b/é.img") == "/a b/é.img"
    assert shown("/line\nbreak") == "/line\\nbreak"
    assert shown(os.fsdecode(b"/\xff")).isascii()
