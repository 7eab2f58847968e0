"""What cannot be read is refused or fails with the byte named; nothing unread ever passes for zeros."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from backy_io_file import open_source

from backy_core.errors import NotFound, SourceError
from backy_core.model import Extent

Url = Callable[[Path | str], str]
Loop = Callable[..., str]
MIB = 1 << 20


@pytest.mark.parametrize("name", ["gone.img", "gone/disk.img", "file/disk.img"])
def test_a_source_that_is_not_there_is_not_found(folder: Path, url: Url, name: str) -> None:
    (folder / "file").write_bytes(b"")
    with pytest.raises(NotFound, match=r"no such file or device: .*" + name):
        open_source(url(folder / name), None)


def test_a_directory_a_pipe_a_socket_and_a_terminal_are_named_for_what_they_are(
    tmp_path: Path, url: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket")
        for path, told in [
            (tmp_path, "is a directory, .* give a disk image in it"),
            (tmp_path / "fifo", "is a named pipe, .* write the data to a file first"),
            (tmp_path / "socket", "is a socket, .* give the image or device behind it"),
            (Path("/dev/null"), "is a character device, .* give the block device"),
        ]:
            with pytest.raises(SourceError, match=told):
                open_source(url(path), None)


def test_an_unreadable_file_is_refused(url: Url, as_nobody: Callable[[Callable[[], object]], str]) -> None:
    import tempfile

    import backy_io_file.source  # noqa: F401 - the child may not read it any more

    with tempfile.NamedTemporaryFile() as file:
        os.chmod(file.name, 0)
        told = as_nobody(lambda: open_source(url(file.name), None))
    assert told.startswith("SourceError")
    assert "may not be read by this user" in told


def test_a_loop_of_links_and_a_name_too_long_are_refused(folder: Path, url: Url) -> None:
    (folder / "loop").symlink_to("loop")
    for name in ["loop", "x" * 300]:
        with pytest.raises(SourceError, match="cannot open"):
            open_source(url(folder / name), None)


def test_a_file_with_content_but_no_size_is_refused(url: Url) -> None:
    with pytest.raises(SourceError, match="has content but no size"):
        open_source(url("/proc/self/mountinfo"), None)


def test_a_file_that_cannot_be_measured_is_refused(url: Url) -> None:
    # Of no size and without a byte to read at 0: /proc answers the first read with an error.
    with pytest.raises(SourceError, match="cannot read /proc/self/mem: Input/output error"):
        open_source(url("/proc/self/mem"), None)


def test_a_file_cut_short_while_it_is_read_fails_at_its_new_end(folder: Path, url: Url) -> None:
    path = folder / "shrinks.img"
    path.write_bytes(b"x" * 100_000)
    with open_source(url(path), None) as source:
        os.truncate(path, 50_001)
        with pytest.raises(SourceError, match="ends at byte 50001, it had 100000 bytes"):
            source.read_into(40_000, memoryview(bytearray(60_000)))


def test_the_lost_end_of_a_file_cut_short_does_not_pass_for_a_hole(folder: Path, url: Url) -> None:
    path = folder / "shrinks.img"
    path.write_bytes(b"x" * MIB)
    with open_source(url(path), None) as source:
        os.truncate(path, 4096)
        extents = source.data_extents()
        assert next(extents) == Extent(0, 4096)
        with pytest.raises(SourceError, match="changed its size from 1048576 to 4096"):
            next(extents)


def test_a_file_that_grows_while_it_is_read_is_refused(folder: Path, url: Url) -> None:
    path = folder / "grows.img"
    path.write_bytes(b"x" * 8192)
    with open_source(url(path), None) as source:
        with path.open("ab") as file:
            file.write(b"more")
        with pytest.raises(SourceError, match="changed its size from 8192 to 8196 bytes"):
            source.read_into(0, memoryview(bytearray(8192)))
        with pytest.raises(SourceError, match="changed its size"):
            list(source.data_extents())


def test_a_bad_sector_of_a_device_is_named_by_its_byte(folder: Path, url: Url, loop: Loop) -> None:
    backing = folder / "disk.img"
    backing.write_bytes(b"x" * MIB)
    with open_source(url(loop(backing)), None) as source:
        os.truncate(backing, 512 * 1024)  # the loop driver answers with EIO from there on
        good = bytearray(4096)
        source.read_into(0, memoryview(good))
        assert good == b"x" * 4096
        with pytest.raises(SourceError, match=r"at byte 524288: Input/output error; check the disk") as caught:
            source.read_into(500 * 1024, memoryview(bytearray(64 * 1024)))
        assert isinstance(caught.value.__cause__, OSError)


def test_a_bad_sector_under_a_file_is_named_by_its_byte(ext4: tuple[str, Path, Path], url: Url) -> None:
    _, where, backing = ext4
    path = where / "disk.img"
    path.write_bytes(b"x" * (2 * MIB))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with open_source(url(path), None) as source:
        keep = backing.read_bytes()
        os.truncate(backing, 0)
        try:
            with pytest.raises(SourceError, match=r"disk\.img at byte \d+: Input/output error"):
                source.read_into(0, memoryview(bytearray(2 * MIB)))
        finally:
            with backing.open("r+b") as file:
                file.write(keep)


def test_where_reading_without_waiting_is_refused_it_waits(
    folder: Path, url: Url, injected: Callable[..., str]
) -> None:
    path = folder / "d.img"
    path.write_bytes(bytes(range(256)) * 16)
    code = """
source = open_source(sys.argv[1], None)
space = bytearray(4096)
source.read_into(0, memoryview(space))
assert space == bytes(range(256)) * 16
source.close()
print("whole")
"""
    assert injected(code, "preadv2:error=EOPNOTSUPP:when=1", arguments=(url(path),)) == "whole"


@pytest.mark.parametrize(
    ("error", "told"),
    [("EIO", "SourceError cannot find the holes"), ("EINVAL", "[(0, 8192)]"), ("EOPNOTSUPP", "[(0, 8192)]")],
)
def test_a_file_system_without_hole_search_gives_one_extent_and_a_broken_one_an_error(
    folder: Path, url: Url, injected: Callable[..., str], error: str, told: str
) -> None:
    path = folder / "d.img"
    path.write_bytes(b"x" * 8192)
    code = """
source = open_source(sys.argv[1], None)
try:
    print([(extent.offset, extent.length) for extent in source.data_extents()])
finally:
    source.close()
"""
    # Python's own start-up seeks, too; only the calls on this path count.
    assert injected(code, f"lseek:error={error}", arguments=(url(path),)).startswith(told)
