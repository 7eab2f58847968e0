"""A text object comes back as it was, and nothing else is taken for one."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backy_core.errors import InternalError, ObjectCorrupt
from backy_core.objects.texts import TEXT_OBJECT_LIMIT, decode_text, encode_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=10,
)


def signed(body: bytes) -> bytes:
    """Bytes with the last line that fits them."""
    return body + b"sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n"


@given(st.dictionaries(st.text(max_size=9), JSON, max_size=5))
def test_what_was_written_comes_back(fields: dict[str, object]) -> None:
    whole = {**fields, "backy": "thing", "repository": "r"}
    data = encode_text(whole)
    assert decode_text(data, "thing") == whole
    body, last = data.split(b"\nsha256 ")
    assert json.loads(body) == whole
    assert last == hashlib.sha256(body + b"\n").hexdigest().encode() + b"\n"


@given(st.binary(max_size=300))
def test_anything_else_is_refused(data: bytes) -> None:
    for one in (data, signed(data), signed(data + b"\n")):
        with pytest.raises(ObjectCorrupt):
            decode_text(one, "thing")


def test_every_flipped_bit_and_every_truncation_is_noticed() -> None:
    data = encode_text({"backy": "thing", "repository": "r", "number": 1})
    for bit in range(len(data) * 8):
        spoiled = bytearray(data)
        spoiled[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ObjectCorrupt):
            decode_text(bytes(spoiled), "thing")
    for length in range(len(data)):
        with pytest.raises(ObjectCorrupt):
            decode_text(data[:length], "thing")
    for added in (b"\n", b"x", data):
        with pytest.raises(ObjectCorrupt):
            decode_text(data + added, "thing")


@pytest.mark.parametrize(
    "body",
    [
        b'{"backy": "other", "repository": "r"}\n',
        b'{"backy": "thing"}\n',
        b'{"backy": "thing", "repository": 3}\n',
        b'["backy"]\n',
        b'{"backy": "thing", "repository": "r", "x": NaN}\n',
        b'{"backy": "thing", "repository": "\xff"}\n',
        b"[" * 60_000 + b"\n",
        b'{"backy": "thing", "repository": "r"}',
    ],
)
def test_other_json_is_refused_though_its_checksum_fits(body: bytes) -> None:
    with pytest.raises(ObjectCorrupt):
        decode_text(signed(body), "thing")


def test_one_that_is_too_long_is_neither_written_nor_read() -> None:
    with pytest.raises(InternalError):
        encode_text({"backy": "thing", "repository": "r" * 65536})
    longest = encode_text({"backy": "thing", "repository": "r" * 65_496})
    assert len(longest) <= TEXT_OBJECT_LIMIT
    assert decode_text(longest, "thing")
    body = json.dumps({"backy": "thing", "repository": "r" * 70_000}).encode() + b"\n"
    with pytest.raises(ObjectCorrupt, match="longer than"):
        decode_text(signed(body), "thing")
