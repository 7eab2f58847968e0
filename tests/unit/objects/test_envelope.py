"""An envelope gives back what was wrapped, and notices any change to it."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from backy_core.builtin.hashes import new_hash
from backy_core.errors import ObjectCorrupt
from backy_core.objects.envelope import HEADER_LENGTH, Envelope

HASH = new_hash("sha512")
PLAIN, ZSTD = Envelope(HASH, None), Envelope(HASH, 1)
LIMIT = 4 * 1024 * 1024


def wrapped(envelope: Envelope, content: bytes, key: str = "c/1") -> bytes:
    return b"".join(bytes(part) for part in envelope.wrap(key, content))


@given(st.binary(max_size=5000), st.booleans())
def test_what_was_wrapped_comes_back(content: bytes, compress: bool) -> None:
    data = wrapped(ZSTD if compress else PLAIN, content)
    assert PLAIN.unwrap("c/1", data, LIMIT) == content, "any envelope of the repository reads it, whatever it writes"


def test_content_that_does_not_shrink_is_kept_as_it_is() -> None:
    content = os.urandom(10_000)
    assert len(wrapped(ZSTD, content)) == len(content) + HEADER_LENGTH
    assert len(wrapped(ZSTD, bytes(10_000))) < 200


@pytest.mark.parametrize("envelope", [PLAIN, ZSTD])
def test_every_flipped_bit_is_noticed(envelope: Envelope) -> None:
    rng = random.Random(7)
    content = b"".join(rng.choice([b"some text ", b"other ", os.urandom(3)]) for _ in range(400))
    data = bytearray(wrapped(envelope, content))
    places = list(range(HEADER_LENGTH * 8)) + rng.sample(range(HEADER_LENGTH * 8, len(data) * 8), 1000)
    for bit in places:
        data[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(ObjectCorrupt):
            envelope.unwrap("c/1", bytes(data), LIMIT)
        data[bit // 8] ^= 1 << (bit % 8)
    assert envelope.unwrap("c/1", bytes(data), LIMIT) == content


def test_every_truncation_and_any_addition_is_noticed() -> None:
    data = wrapped(ZSTD, b"some text " * 50)
    for length in range(len(data)):
        with pytest.raises(ObjectCorrupt):
            ZSTD.unwrap("c/1", data[:length], LIMIT)
    with pytest.raises(ObjectCorrupt):
        ZSTD.unwrap("c/1", data + b"\0", LIMIT)


def test_an_object_of_another_kind_is_refused() -> None:
    with pytest.raises(ObjectCorrupt, match="kind"):
        PLAIN.unwrap("m/1", wrapped(PLAIN, b"x"), LIMIT)


def test_more_content_than_allowed_is_refused() -> None:
    with pytest.raises(ObjectCorrupt, match="more than"):
        PLAIN.unwrap("c/1", wrapped(PLAIN, b"12345"), 4)


def forged(header_fields: tuple[object, ...], payload: bytes) -> bytes:
    """An object with a checksum that fits, as a hostile store could make it: the hash of plain objects has no key."""
    header = struct.pack("<4sBsBBQ", *header_fields)
    return header + HASH.digest(header, payload)[:16] + payload


def peak() -> int:
    """The most memory this process had at once, in KiB, since that was reset."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 30))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = peak()
    for claimed in (LIMIT, 1 << 30, 1 << 62):
        with pytest.raises(ObjectCorrupt):
            ZSTD.unwrap("c/1", forged((b"BKY\x1a", 1, b"c", 1, 0, claimed), bomb), LIMIT)
    assert peak() - before < 64 * 1024, "KiB"


@pytest.mark.parametrize(
    "fields",
    [
        (b"BKY\x1a", 2, b"c", 0, 0, 1),
        (b"BKY\x1a", 1, b"c", 2, 0, 1),
        (b"BKY\x1a", 1, b"c", 0, 1, 1),
        (b"BKY\x1a", 1, b"c", 0, 0, 2),
        (b"BKY\x1a", 1, b"c", 1, 0, 1),
        (b"BKX\x1a", 1, b"c", 0, 0, 1),
    ],
)
def test_fields_of_another_format_are_refused_though_the_checksum_fits(fields: tuple[object, ...]) -> None:
    with pytest.raises(ObjectCorrupt):
        PLAIN.unwrap("c/1", forged(fields, b"x"), LIMIT)


def test_a_frame_without_its_size_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 100)
    with pytest.raises(ObjectCorrupt):
        PLAIN.unwrap("c/1", forged((b"BKY\x1a", 1, b"c", 1, 0, 100), frame), LIMIT)
