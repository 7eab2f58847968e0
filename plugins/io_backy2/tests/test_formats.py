"""Every format of exports gives the same content, with what each of them knows besides."""

from __future__ import annotations

import random
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import exports
import pytest
from backy_io_backy2 import open_source
from backy_io_backy2.rows import BlockRow
from backy_io_backy2.sealed import SealError, unseal, unwrap
from backy_io_backy2.settings import Backy2Settings

CONTENT = random.Random(1).randbytes(100_000) + bytes(200_000) + random.Random(2).randbytes(99_999)


def content_of(url: str, settings: Backy2Settings | None = None) -> bytes:
    with open_source(url, settings) as source:
        space = bytearray(source.size)
        source.read_into(0, memoryview(space))
        return bytes(space)


@pytest.mark.parametrize("format", exports.FORMATS)
@pytest.mark.parametrize("sparse", ["", "None"])
def test_the_content_is_byte_equal(tmp_path: Path, format: str, sparse: str) -> None:
    assert content_of(exports.write(tmp_path, CONTENT, format=format, sparse=sparse).url) == CONTENT


@pytest.mark.parametrize("format", exports.FORMATS)
def test_the_order_of_the_blocks_does_not_matter(tmp_path: Path, format: str) -> None:
    export = exports.write(tmp_path, CONTENT, format=format)
    for seed in range(3):
        random.Random(seed).shuffle(export.rows)
        assert content_of(export.save().url) == CONTENT
    export.rows.reverse()
    assert content_of(export.save().url) == CONTENT


@pytest.mark.parametrize("format", exports.FORMATS)
def test_line_ends_of_other_systems_are_read_too(tmp_path: Path, format: str) -> None:
    export = exports.write(tmp_path, CONTENT, format=format)
    export.path.write_bytes(export.path.read_bytes().replace(b"\r\n", b"\n"))
    assert content_of(export.url) == CONTENT


@pytest.mark.parametrize("hash", ["sha256", "blake2b", "md5"])
def test_the_hash_is_what_the_settings_say(tmp_path: Path, hash: str) -> None:
    export = exports.write(tmp_path, CONTENT, hash=hash)
    assert content_of(export.url, Backy2Settings(hash=hash)) == CONTENT


def test_the_blobs_folder_may_come_from_the_settings(tmp_path: Path) -> None:
    export = exports.write(tmp_path, CONTENT)
    url = export.url.partition("?")[0]
    with open_source(url, Backy2Settings(data=export.data)) as source:
        assert source.location == export.url


@pytest.mark.parametrize("name", ["vm-1", 'a,"quoted" name', "two\nlines", "größe", "a|b", ""])
@pytest.mark.parametrize("format", exports.FORMATS)
def test_the_volume_is_called_as_it_was(tmp_path: Path, format: str, name: str) -> None:
    with open_source(exports.write(tmp_path, CONTENT, format=format, name=name).url, None) as source:
        assert source.volume == name
        assert source.size == len(CONTENT)


@pytest.mark.parametrize("format", ["2.10", "2.12"])
def test_newer_formats_have_an_expiry_and_dates_in_utc(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    export = exports.write(tmp_path, CONTENT, format=format, date="2022-06-27 23:30:00", expire="2022-12-31")
    with open_source(export.url, Backy2Settings(timezone="America/New_York")) as source:
        assert source.made == datetime(2022, 6, 27, 23, 30, tzinfo=UTC)
        assert source.expires == datetime(2023, 1, 1, tzinfo=UTC)
    with open_source(exports.write(tmp_path, CONTENT, format=format).url, None) as source:
        assert source.expires is None


def test_plain_and_encrypted_blocks_may_be_mixed(tmp_path: Path) -> None:
    export = exports.write(tmp_path, CONTENT, format="2.12", key=exports.KEY)
    plain = exports.write(tmp_path, CONTENT, format="2.12")
    export.rows[1] = plain.rows[1][:1] + export.rows[1][1:2] + plain.rows[1][2:]
    assert content_of(export.save().url, Backy2Settings(encryption_key=exports.KEY.hex().upper())) == CONTENT


def test_a_blob_sealed_by_the_library_that_backy2_used_is_opened() -> None:
    # Made with pycryptodome 4.4.0, key wrap by hand: tag, nonce, ciphertext of a zstd frame of level 1.
    wrapped = bytes.fromhex("026115d00cb6ace96d9e2c074ef78f464aa18a532bc68cecfb5117109910dedd924b6e9142333c0f")
    blob = bytes.fromhex(
        "c63601180a9d70fddf16015acc201447c8c9cacbcccdcecfd0d1d2d3d4d5d6d7a71673cb00a4fb86065414ce9fa9d7c544bcc8369ee2"
        "d10cf49b7f59432e9782dbfc661bcc660dabce8970d10ab3641bbb01c63fbfbc2b65337959863875"
    )
    content = b"backy2 sealed this block with pycryptodome. " * 4
    own = unwrap(exports.KEY, wrapped)
    assert own == bytes(range(100, 132))
    assert unseal(own, blob, len(content)) == content
    for size in (len(content) - 1, len(content) + 1):
        with pytest.raises(SealError, match="holds 176 bytes instead of"):
            unseal(own, blob, size)


def test_a_frame_that_does_not_say_its_size_is_bounded_all_the_same() -> None:
    import zstandard
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    def blob(content: bytes) -> bytes:
        frame = zstandard.ZstdCompressor(write_content_size=False).compress(content)
        both = AESGCM(exports.KEY).encrypt(bytes(16), frame, None)
        return both[-16:] + bytes(16) + both[:-16]

    assert unseal(exports.KEY, blob(b"x" * 5000), 5000) == b"x" * 5000
    with pytest.raises(SealError):
        unseal(exports.KEY, blob(bytes(1 << 26)), 5000)
    with pytest.raises(SealError, match="holds 4999 bytes instead of 5000"):
        unseal(exports.KEY, blob(b"x" * 4999), 5000)


def test_a_version_takes_few_bytes_of_memory_a_block(tmp_path: Path) -> None:
    export = exports.write(tmp_path, b"x" * exports.BLOCK)
    count = 200_000
    export.header[4:6] = [count, count * exports.BLOCK]
    export.rows = [[*export.rows[0][:2], index, *export.rows[0][3:]] for index in range(count)]
    export.save()
    export.rows = []
    tracemalloc.start()
    try:
        with open_source(export.url, None) as source:
            _, peak = tracemalloc.get_traced_memory()
            last = bytearray(exports.BLOCK)
            source.read_into(source.size - exports.BLOCK, memoryview(last))
            assert last == b"x" * exports.BLOCK
    finally:
        tracemalloc.stop()
    assert peak < 10 * count + 4_000_000


def test_a_row_keeps_no_more_than_it_needs() -> None:
    assert not hasattr(BlockRow(0, None, b"", 1, True, None), "__dict__")
