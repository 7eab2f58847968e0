"""Sources pass the contract as files, sparse files and block devices, and leave the page cache as they found it."""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from backy_io_file import open_source

from backy_core.contracts.source import Source
from backy_core.model import Extent
from backy_core.testing.io import MakeSource, SourceConformance

Url = Callable[[Path | str], str]
Loop = Callable[..., str]
MIB = 1 << 20


def sparse(path: Path, size: int, pieces: Sequence[tuple[int, bytes]]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
    return path


def resident(path: Path) -> int:
    """How many bytes of a file are in the page cache."""
    library = ctypes.CDLL(None, use_errno=True)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        anchor = ctypes.c_char.from_buffer(mapped)
        try:
            assert library.mincore(ctypes.byref(anchor), ctypes.c_size_t(len(mapped)), pages) == 0
        finally:
            del anchor
        return sum(page & 1 for page in pages) * mmap.PAGESIZE


class TestFile(SourceConformance):
    @pytest.fixture
    def make_source(self, folder: Path, url: Url) -> MakeSource:
        def make(size: int, pieces: Sequence[tuple[int, bytes]]) -> Source:
            return open_source(url(sparse(folder / "disk ?#.img", size, pieces)), None)

        return make


class TestDevice(SourceConformance):
    granularity = 512

    @pytest.fixture
    def make_source(self, folder: Path, url: Url, loop: Loop) -> MakeSource:
        def make(size: int, pieces: Sequence[tuple[int, bytes]]) -> Source:
            return open_source(url(loop(sparse(folder / "disk.img", size, pieces))), None)

        return make


class TestThroughASymbolicLink(SourceConformance):
    @pytest.fixture
    def make_source(self, folder: Path, url: Url) -> MakeSource:
        def make(size: int, pieces: Sequence[tuple[int, bytes]]) -> Source:
            link = folder / "link"
            link.unlink(missing_ok=True)
            link.symlink_to(sparse(folder / "disk.img", size, pieces))
            return open_source(url(link), None)

        return make


class TestWhereReadingWithoutWaitingIsRefused(TestFile):
    @pytest.fixture(autouse=True)
    def _refused(self, mount: Callable[..., Path], folder: Path) -> None:
        mount("ramfs", "none")

    @pytest.fixture
    def make_source(self, folder: Path, url: Url) -> MakeSource:
        place = next(path for path in folder.iterdir() if path.is_mount())

        def make(size: int, pieces: Sequence[tuple[int, bytes]]) -> Source:
            return open_source(url(sparse(place / "disk.img", size, pieces)), None)

        return make


def test_only_allocated_ranges_of_a_sparse_file_are_extents(folder: Path, url: Url) -> None:
    path = sparse(folder / "s.img", 64 * MIB + 3, [(0, b"a"), (8 * MIB, b"b" * 5000), (64 * MIB + 2, b"c")])
    with path.open("rb") as file:
        if os.lseek(file.fileno(), 1, os.SEEK_HOLE) >= 64 * MIB:
            pytest.skip("this file system keeps no holes")
    with open_source(url(path), None) as source:
        extents = list(source.data_extents())
        assert len(extents) == 3
        assert sum(extent.length for extent in extents) < MIB
        assert extents[-1].end == source.size


def test_a_device_is_one_extent(folder: Path, url: Url, loop: Loop) -> None:
    with open_source(url(loop(sparse(folder / "d.img", MIB, []))), None) as source:
        assert list(source.data_extents()) == [Extent(0, MIB)]


def test_a_source_has_no_identity_because_anybody_may_write_to_it(folder: Path, url: Url) -> None:
    with open_source(url(sparse(folder / "d.img", 10, [])), None) as source:
        assert source.identity is None


@pytest.fixture
def uncached(folder: Path) -> Path:
    """A file of 8 MiB of which nothing is in the page cache."""
    path = folder / "cache.img"
    path.write_bytes(os.urandom(8 * MIB))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(path):
        pytest.skip("this file system keeps its pages whatever it is told")
    return path


def test_what_was_not_cached_is_not_cached_after_reading(uncached: Path, url: Url) -> None:
    with open_source(url(uncached), None) as source:
        for offset in range(0, source.size, MIB):
            source.read_into(offset, memoryview(bytearray(MIB)))
    # The last pages of a read can be held back by another processor; more than one read's worth is ours.
    assert resident(uncached) <= MIB


def test_what_was_cached_stays_cached(uncached: Path, url: Url) -> None:
    with uncached.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(file.fileno(), 3 * MIB, 2 * MIB)
    before = resident(uncached)
    assert before >= 3 * MIB
    with open_source(url(uncached), None) as source:
        for offset in range(0, source.size, MIB):
            source.read_into(offset, memoryview(bytearray(MIB)))
    assert resident(uncached) >= before


def test_a_file_written_to_during_the_backup_is_mentioned_in_the_log(
    folder: Path, url: Url, caplog: pytest.LogCaptureFixture
) -> None:
    path = sparse(folder / "live.img", 8192, [(0, b"x")])
    os.utime(path, ns=(0, 0))
    with caplog.at_level(logging.WARNING):
        with open_source(url(path), None) as source:
            source.read_into(0, memoryview(bytearray(8192)))
        assert not caplog.records
        with open_source(url(path), None) as source:
            with path.open("r+b") as file:
                file.write(b"new")
            source.read_into(0, memoryview(bytearray(8192)))
    assert "written to while it was read" in caplog.text
