"""What is cut short, damaged, missing or foreign is refused in one line that names it; no zeros stand in for it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import exports
import pytest
from backy_io_backy2 import open_source
from backy_io_backy2.settings import Backy2Settings
from exports import BLOCK, CHECKSUM, ENC_KEY, ENC_VERSION, ID, SIZE, UID, VALID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backy_core.errors import BackyError, ConfigurationError, SourceError

CONTENT = random.Random(3).randbytes(2 * BLOCK) + bytes(BLOCK) + random.Random(4).randbytes(1000)
WITH_KEY = Backy2Settings(encryption_key=exports.KEY.hex())


@pytest.fixture
def export(tmp_path: Path) -> exports.Export:
    return exports.write(tmp_path, CONTENT)


@pytest.fixture
def sealed(tmp_path: Path) -> exports.Export:
    return exports.write(tmp_path, CONTENT, format="2.12", key=exports.KEY)


def refused(export: exports.Export, with_settings: Backy2Settings | None = None) -> str:
    """The one line with which opening it is refused."""
    with pytest.raises(SourceError) as caught:
        open_source(export.url, with_settings)
    return line_of(caught.value)


def line_of(error: BackyError) -> str:
    line = str(error)
    assert line.isprintable()
    assert not line.endswith(".")
    assert exports.KEY.hex() not in line
    return line


def unread(export: exports.Export, block: int, with_settings: Backy2Settings | None = None) -> str:
    """The one line with which a block cannot be read, in whole or in part; the blocks beside it can."""
    with open_source(export.url, with_settings) as source:
        for other in range(4):
            length = min(BLOCK, len(CONTENT) - other * BLOCK)
            space = bytearray(b"\xee" * length)
            if other != block:
                source.read_into(other * BLOCK, memoryview(space))
                assert space == CONTENT[other * BLOCK :][:BLOCK]
        told = set()
        for offset, length in [(block * BLOCK, min(BLOCK, len(CONTENT) - block * BLOCK)), (block * BLOCK + 1, 5)]:
            with pytest.raises(SourceError) as caught:
                source.read_into(offset, memoryview(bytearray(length)))
            told.add(line_of(caught.value))
        (line,) = told
    assert f"block {block} " in line
    return line


def save_with(change: Callable[[exports.Export], object], export: exports.Export) -> exports.Export:
    change(export)
    return export.save()


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (b"", "is empty"),
        (b"    INFO: $ backy2 export x -\nbacky2 Version 2.2 metadata dump\r\n", "not to standard output"),
        (b"\x7fELF\x02\x01" + bytes(range(256)) * 100, "is no export of backy2"),
        (b"\0" * 100_000, "is no export of backy2"),
        (b"backy2 Version 2.2 metadata dump", "is no export of backy2"),
        (b"backy2 Version 3.0 metadata dump\r\n", "has the format 3.0; known are 2.1, 2.2, 2.10, 2.12"),
        (b"backy2 Version 2.2 metadata dump\r\n", "ends with the file"),
        (b"backy2 Version 2.2 metadata dump\r\na,b\r\n", "has not the 8 columns of format 2.2"),
        (b"backy2 Version 2.2 metadata dump\r\n\r\n", "has not the 8 columns of format 2.2"),
        (b"backy2 Version 2.2 metadata dump\r\n" + b'"' + b"x\n" * 50_000, "is too long"),
        (b"backy2 Version 2.2 metadata dump\r\n" + b"x" * 100_000, "is too long"),
        (b'backy2 Version 2.2 metadata dump\r\nu,d,"n"x"",s,1,1,1,0\r\n', "second line"),
        (b"backy2 Version 2.2 metadata dump\r\n../u,d,n,s,1,1,1,0\r\n", "has the uid '../u'"),
        (b"backy2 Version 2.2 metadata dump\r\nu,d,n,s,one,1,1,0\r\n", "has the size 'one', which is no number"),
        (b"backy2 Version 2.2 metadata dump\r\nu,d,n,s,1,-1,1,0\r\n", "has the size_bytes '-1', which is no number"),
        (b"backy2 Version 2.2 metadata dump\r\nu,d,n,s,900000000000000,1,1,0\r\n", "is cut short"),
    ],
)
def test_what_is_no_export_is_refused(export: exports.Export, first: bytes, told: str) -> None:
    export.path.write_bytes(first)
    assert told in refused(export)


def test_a_cut_anywhere_is_noticed(tmp_path: Path) -> None:
    export = exports.write(tmp_path, CONTENT)
    whole = export.path.read_bytes()
    for length in range(len(whole) - 1):
        export.path.write_bytes(whole[:length])
        refused(export)
    export.path.write_bytes(whole[: whole.rindex(b"\r\n", 0, -2) + 2])
    assert "1 of 4 blocks are missing, the first is block 3" in refused(export)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_gives_the_right_content_or_an_error(export: exports.Export, data: st.DataObject) -> None:
    whole = bytearray(export.save().path.read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    export.path.write_bytes(whole)
    try:
        with open_source(export.url, None) as source:
            space = bytearray(source.size)
            source.read_into(0, memoryview(space))
            # A block's length is said twice, so nothing but the whole content can come of it.
            assert space == CONTENT
    except BackyError as error:
        line_of(error)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda e: e.rows.pop(1), "1 of 4 blocks are missing, the first is block 1"),
        (lambda e: e.rows.append(e.rows[0]), "line 7, is of block 0, which another line describes already"),
        (lambda e: e.rows[1].pop(), "line 4, has 6 columns instead of 7"),
        (lambda e: e.rows[1].__setitem__(1, "other"), "line 4, belongs to another version"),
        (lambda e: e.rows[1].__setitem__(ID, 4), "line 4, is of block '4', but the version has 4 blocks"),
        (lambda e: e.rows[1].__setitem__(ID, -1), "line 4, is of block '-1'"),
        (lambda e: e.rows[1].__setitem__(SIZE, 100), "line 4, gives block 1 100 bytes, others have 65536"),
        (lambda e: e.rows[1].__setitem__(SIZE, ""), "line 4, has the size ''"),
        (lambda e: e.rows[3].__setitem__(SIZE, 999), "contradicts itself"),
        (lambda e: e.header.__setitem__(5, len(CONTENT) + 1), "contradicts itself"),
        (lambda e: e.header.__setitem__(5, 0), "contradicts itself"),
        (lambda e: e.rows[1].__setitem__(VALID, 2), "line 4, has the valid mark '2'"),
        (lambda e: e.rows[1].__setitem__(VALID, 0), "block 1 of version .* is marked invalid by backy2"),
        (lambda e: e.header.__setitem__(6, 0), "version .* is marked invalid by backy2: .* allow_invalid = true"),
        (lambda e: e.rows[1].__setitem__(UID, "../../../etc/passwd"), "line 4, has the blob uid"),
        (lambda e: e.rows[1].__setitem__(UID, ""), "line 4, has no blob but a checksum"),
        (lambda e: e.rows[1].__setitem__(CHECKSUM, ""), "line 4, has the checksum ''"),
        (lambda e: e.rows[1].__setitem__(CHECKSUM, "ab" * 32), "line 4, .* 64 digits instead of 128: set 'hash'"),
        (lambda e: e.rows[1].__setitem__(CHECKSUM, "xy" * 64), "line 4, has the checksum 'xyxy"),
        (lambda e: e.rows[1].__setitem__(3, "x" * 5000), "line 4, is too long for a block"),
        (lambda e: e.header.__setitem__(1, "never"), "made at 'never', which is no date"),
    ],
)
def test_a_line_that_cannot_be_is_named(
    export: exports.Export, change: Callable[[exports.Export], object], told: str
) -> None:
    import re

    assert re.search(told, refused(save_with(change, export)))


def test_invalid_versions_are_read_when_the_settings_allow_it(
    export: exports.Export, caplog: pytest.LogCaptureFixture
) -> None:
    export.header[6] = export.rows[1][VALID] = 0
    export.save()
    with open_source(export.url, Backy2Settings(allow_invalid=True)) as source:
        space = bytearray(len(CONTENT))
        source.read_into(0, memoryview(space))
        assert space == CONTENT
    assert "is marked invalid by backy2" in caplog.text
    export.blob(1).write_bytes(os.urandom(BLOCK))
    assert "does not match its sha512 checksum" in unread(export, 1, Backy2Settings(allow_invalid=True))


@pytest.mark.parametrize("block", [0, 1, 3])
def test_a_blob_that_is_missing_short_long_or_damaged_is_named(export: exports.Export, block: int) -> None:
    blob = export.blob(block)
    content = blob.read_bytes()
    blob.write_bytes(content[:-1])
    assert f"{blob} has {len(content) - 1} bytes instead of {len(content)}" in unread(export, block)
    blob.write_bytes(content + b"x")
    assert f"{blob} has {len(content) + 1} bytes instead of {len(content)}" in unread(export, block)
    blob.write_bytes(b"")
    assert f"{blob} has 0 bytes" in unread(export, block)
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert f"{blob} does not match its sha512 checksum" in unread(export, block)
    blob.write_bytes(bytes(len(content)))
    assert f"{blob} does not match its sha512 checksum" in unread(export, block)
    blob.unlink()
    assert f"{blob} is missing" in unread(export, block)
    blob.mkdir()
    assert f"{blob}: it is no regular file" in unread(export, block)
    blob.rmdir()
    os.mkfifo(blob)
    assert f"{blob}: it is no regular file" in unread(export, block)
    blob.unlink()
    blob.symlink_to(blob)
    assert f"{blob}: Too many levels of symbolic links" in unread(export, block)


def test_an_export_written_to_while_it_is_read_is_noticed(export: exports.Export) -> None:
    with open_source(export.url, None) as source:
        os.utime(export.path, ns=(0, 0))
        with pytest.raises(SourceError, match="was written to while it was read"):
            source.read_into(0, memoryview(bytearray(BLOCK)))


def test_a_wrong_key_is_noticed_before_anything_is_read(sealed: exports.Export) -> None:
    told = refused(sealed, Backy2Settings(encryption_key="ab" * 32))
    assert "block 0 cannot be read: its envelope key does not open with the encryption_key" in told


def test_a_missing_key_is_noticed_before_anything_is_read(sealed: exports.Export) -> None:
    with pytest.raises(ConfigurationError, match=r"block 0 of version .* is encrypted: set encryption_key under"):
        open_source(sealed.url, None)


def test_a_block_of_another_key_is_named(sealed: exports.Export) -> None:
    blob, wrapped, _ = exports.sealed(CONTENT[BLOCK : 2 * BLOCK], b"k" * 32)
    sealed.blob(1).write_bytes(blob)
    sealed.rows[1][ENC_KEY] = wrapped
    assert "envelope key does not open" in unread(sealed.save(), 1, WITH_KEY)


def test_a_sealed_blob_that_is_short_long_or_damaged_is_named(sealed: exports.Export) -> None:
    blob = sealed.blob(1)
    content = blob.read_bytes()
    for wrong, told in [
        (content[:-1], "its authentication fails"),
        (content + b"x", "its authentication fails"),
        (content[:20], "it has only 20 bytes"),
        (b"", "it has only 0 bytes"),
        (bytes([content[0] ^ 1]) + content[1:], "its authentication fails"),
        (content[:16] + bytes(16) + content[32:], "its authentication fails"),
        (content[:40] + bytes(1) + content[41:], "its authentication fails"),
        (sealed.blob(0).read_bytes(), "its authentication fails"),
        (content + bytes(BLOCK), "too many for an encrypted block"),
    ]:
        blob.write_bytes(wrong)
        line = unread(sealed, 1, WITH_KEY)
        assert str(blob) in line
        assert told in line
    blob.unlink()
    assert f"{blob} is missing" in unread(sealed, 1, WITH_KEY)


@pytest.mark.parametrize(
    ("content", "told"),
    [(CONTENT[BLOCK : 2 * BLOCK - 1], "holds 65535 bytes instead"), (os.urandom(BLOCK), "does not match its sha512")],
)
def test_a_sealed_blob_with_another_content_is_named(sealed: exports.Export, content: bytes, told: str) -> None:
    blob, wrapped, _ = exports.sealed(content, exports.KEY)
    sealed.blob(1).write_bytes(blob)
    sealed.rows[1][ENC_KEY] = wrapped
    assert told in unread(sealed.save(), 1, WITH_KEY)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        (ENC_VERSION, 2, "line 4, has the encryption version '2'; this plugin knows 0 and 1"),
        (ENC_VERSION, "", "line 4, has the encryption version ''"),
        (ENC_KEY, "", "line 4, is encrypted, but has no envelope key"),
        (ENC_KEY, "zz", "line 4, is encrypted, but has no envelope key"),
    ],
)
def test_an_unknown_encryption_is_named(sealed: exports.Export, column: int, value: object, told: str) -> None:
    sealed.rows[1][column] = value
    assert told in refused(sealed.save(), WITH_KEY)


def test_a_wrapped_key_of_another_length_is_named(sealed: exports.Export) -> None:
    from cryptography.hazmat.primitives.keywrap import aes_key_wrap

    sealed.rows[1][ENC_KEY] = aes_key_wrap(exports.KEY, bytes(16)).hex()
    assert "envelope key has 16 bytes instead of 32" in unread(sealed.save(), 1, WITH_KEY)
    sealed.rows[1][ENC_KEY] = "00" * 5
    assert "envelope key does not open" in unread(sealed.save(), 1, WITH_KEY)
