"""An existing file is overwritten only by force, in place and whole, and never while something uses it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from backy_io_file import open_target

from backy_core.errors import OutOfSpace, TargetError, TargetExists, TargetInUse

Url = Callable[[Path | str], str]
Loop = Callable[..., str]
Mount = Callable[..., Path]
Injected = Callable[..., str]
MIB = 1 << 20


@pytest.fixture
def old(folder: Path) -> Path:
    """A file full of old bytes."""
    path = folder / "old.img"
    path.write_bytes(b"\xff" * 100_000)
    return path


def test_without_force_an_existing_file_is_left_alone(old: Path, url: Url) -> None:
    with pytest.raises(TargetExists, match=r"old\.img exists; give --force to overwrite it"):
        open_target(url(old), None, 5, False, "rbd://pool/image")
    assert old.read_bytes() == b"\xff" * 100_000


def test_the_refusal_says_when_the_target_is_the_very_source(old: Path, url: Url) -> None:
    link = old.with_name("link")
    link.symlink_to(old)
    for target, source in [(old, old), (link, old), (old, link)]:
        with pytest.raises(TargetExists, match="exists and is the very source of this version; give --force"):
            open_target(url(target), None, 5, False, url(source))
    with pytest.raises(TargetExists, match=r"exists; give --force"):
        open_target(url(old), None, 5, False, url(old.with_name("gone.img")))


@pytest.mark.parametrize("size", [0, 1, 50_001, 100_000, 300_000])
def test_with_force_no_old_byte_survives_and_the_file_stays_the_same_one(old: Path, url: Url, size: int) -> None:
    old.chmod(0o640)
    before = old.stat()
    target = open_target(url(old), None, size, True, "")
    assert target.starts_zeroed
    target.finish()
    assert old.read_bytes() == bytes(size)
    after = old.stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


def test_a_symbolic_link_is_followed(old: Path, url: Url) -> None:
    link = old.with_name("link")
    link.symlink_to("old.img")
    target = open_target(url(link), None, 3, True, "")
    target.write(0, b"new")
    target.finish()
    assert link.is_symlink()
    assert old.read_bytes() == b"new"


def test_a_restore_that_was_given_up_leaves_an_empty_file(old: Path, url: Url) -> None:
    target = open_target(url(old), None, 5000, True, "")
    target.write(0, b"half")
    target.abandon()
    assert old.read_bytes() == b""


def test_a_second_restore_at_the_same_time_is_refused_before_it_changes_anything(old: Path, url: Url) -> None:
    first = open_target(url(old), None, 5, True, "")
    first.write(0, b"first")
    with pytest.raises(TargetInUse, match="another restore is writing"):
        open_target(url(old), None, 2, True, "")
    first.finish()
    assert old.read_bytes() == b"first"


def test_an_image_locked_by_a_running_guest_is_left_alone(old: Path, url: Url) -> None:
    code = "import fcntl,sys; f=open(sys.argv[1],'r+b'); fcntl.lockf(f,fcntl.LOCK_SH,1,100); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(old)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as guest:
        assert guest.stdout
        guest.stdout.readline()
        with pytest.raises(TargetInUse, match="is locked by another program"):
            open_target(url(old), None, 5, True, "")
        guest.communicate("\n")
    assert old.read_bytes() == b"\xff" * 100_000
    open_target(url(old), None, 5, True, "").abandon()


def test_a_lock_shared_by_readers_of_the_other_kind_is_respected_too(old: Path, url: Url) -> None:
    with old.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        with pytest.raises(TargetInUse):
            open_target(url(old), None, 5, True, "")
    assert old.read_bytes() == b"\xff" * 100_000


def test_the_file_behind_a_loop_device_is_left_alone_even_with_force(old: Path, url: Url, loop: Loop) -> None:
    device = loop(old)
    other = old.with_name("hard link")
    os.link(old, other)
    with pytest.raises(TargetInUse, match=f"is attached to {device}; detach it"):
        open_target(url(other), None, 5, True, "")
    assert old.read_bytes() == b"\xff" * 100_000


def test_a_swap_file_in_use_is_left_alone_even_with_force(ext4: tuple[str, Path, Path], url: Url) -> None:
    swap = ext4[1] / "swap file"
    swap.write_bytes(bytes(4 * MIB))
    swap.chmod(0o600)
    try:
        subprocess.run(["mkswap", str(swap)], check=True, capture_output=True)
        subprocess.run(["swapon", str(swap)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no swap here: {error}")
    try:
        with pytest.raises(TargetInUse, match="is in use as swap"):
            open_target(url(swap), None, 5, True, "")
    finally:
        subprocess.run(["swapoff", str(swap)], check=True, capture_output=True)
    open_target(url(swap), None, 5, True, "").abandon()


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_file_or_device_is_refused(folder: Path, url: Url, force: bool) -> None:
    os.mkfifo(folder / "fifo")
    for path, told in [
        (folder, "is a directory; give the name of a file in it"),
        (folder / "fifo", "is a named pipe; give a file or a block device"),
        (Path("/dev/full"), "is a character device; give a file or a block device"),
    ]:
        with pytest.raises(TargetError, match=told):
            open_target(url(path), None, 5, force, "")


def test_a_file_that_may_not_be_written_is_refused(
    old: Path, url: Url, as_nobody: Callable[[Callable[[], object]], str]
) -> None:
    import tempfile

    import backy_io_file.target  # noqa: F401 - the child may not read it any more

    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        path = Path(place, "d.img")
        path.write_bytes(b"old")
        path.chmod(0o444)
        told = as_nobody(lambda: open_target(url(path), None, 5, True, ""))
        assert told.startswith("TargetError cannot open")
        assert path.read_bytes() == b"old"


def test_a_size_the_file_system_cannot_hold_is_refused_before_anything_is_lost(old: Path, url: Url) -> None:
    with pytest.raises(OutOfSpace, match="no room in target"):
        open_target(url(old), None, (1 << 63) - 1, True, "")
    assert old.read_bytes() == b"\xff" * 100_000


def test_a_full_disk_is_told_and_no_half_restored_file_stays(mount: Mount, url: Url) -> None:
    path = mount("tmpfs", "none", "size=1m") / "d.img"
    path.write_bytes(b"old")
    target = open_target(url(path), None, 4 * MIB, True, "")
    with pytest.raises(OutOfSpace, match="at byte"):
        target.write(0, b"x" * 4 * MIB)
    target.abandon()
    assert path.read_bytes() == b""


def test_a_failing_fsync_means_not_restored(old: Path, url: Url, injected: Injected) -> None:
    code = """
target = restore(sys.argv[1], force=True)
try:
    target.write(0, b"x")
    target.finish()
finally:
    target.abandon()
"""
    assert "is not restored" in injected(code, "fsync:error=EIO", arguments=(url(old),))
    assert old.read_bytes() == b""


def test_a_file_swapped_for_something_else_while_it_is_opened_is_refused(folder: Path, url: Url) -> None:
    from backy_io_file.existing import ExistingFile

    os.mkfifo(folder / "fifo")
    with pytest.raises(TargetError, match="was replaced while it was opened"):
        ExistingFile(str(folder / "fifo"), 5)
