"""Exported versions pass the contract of sources, plain and encrypted, in blocks of several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import exports
import pytest
from backy_io_backy2 import open_source
from backy_io_backy2.settings import Backy2Settings

from backy_core.contracts.source import Source
from backy_core.model import Extent
from backy_core.testing.io import MakeSource, SourceConformance


def whole(size: int, pieces: Sequence[tuple[int, bytes]]) -> bytes:
    content = bytearray(size)
    for offset, data in pieces:
        content[offset : offset + len(data)] = data
    return bytes(content)


class TestPlain(SourceConformance):
    block = exports.BLOCK

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        def make(size: int, pieces: Sequence[tuple[int, bytes]]) -> Source:
            export = exports.write(tmp_path / "a 100% ?&#é place", whole(size, pieces), block=self.block)
            return open_source(export.url, None)

        return make


class TestBlocksLargerThanRequests(TestPlain):
    block = 4 * 1024 * 1024


class TestSealed(SourceConformance):
    @pytest.fixture
    def make_source(self, tmp_path: Path) -> MakeSource:
        settings = Backy2Settings(encryption_key=exports.KEY.hex())

        def make(size: int, pieces: Sequence[tuple[int, bytes]]) -> Source:
            export = exports.write(tmp_path / "x", whole(size, pieces), format="2.12", key=exports.KEY)
            return open_source(export.url, settings)

        return make


def test_sparse_blocks_are_holes_and_neighbours_are_one_extent(tmp_path: Path) -> None:
    block = exports.BLOCK
    content = bytes(block) + b"x" * (2 * block) + bytes(3 * block) + b"y" * 17
    with open_source(exports.write(tmp_path, content).url, None) as source:
        assert list(source.data_extents()) == [Extent(block, 2 * block), Extent(6 * block, 17)]


def test_the_identity_is_of_the_export_so_that_an_import_goes_on_after_exporting_again(tmp_path: Path) -> None:
    export = exports.write(tmp_path, b"x" * 200_000)
    with open_source(export.url, None) as one:
        first = one.identity
    with open_source(export.save().url, None) as two:
        assert two.identity == first
        assert first is not None
        assert str(export.header[0]) in first
    export.rows[0][exports.CHECKSUM] = "00" * 64
    with open_source(export.save().url, None) as other:
        assert other.identity != first
