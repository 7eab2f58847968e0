"""A block device is overwritten only by force, never while anything uses it, and never beyond the version's end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backy_io_file import open_target

from backy_core.errors import OutOfSpace, TargetError, TargetExists, TargetInUse

Url = Callable[[Path | str], str]
Loop = Callable[..., str]
Mount = Callable[..., Path]
Injected = Callable[..., str]
MIB = 1 << 20


def run(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"not possible here: {error}")


def refused(location: str) -> str:
    with pytest.raises(TargetInUse) as caught:
        open_target(location, None, 4096, True, "")
    return str(caught.value)


@pytest.fixture
def backing(folder: Path) -> Path:
    path = folder / "disk.img"
    path.write_bytes(b"\xff" * 4 * MIB)
    return path


@pytest.fixture
def device(backing: Path, loop: Loop) -> str:
    return loop(backing)


def test_without_force_a_device_is_left_alone(device: str, backing: Path, url: Url) -> None:
    with pytest.raises(TargetExists, match=f"{device} is a block device; give --force to overwrite it"):
        open_target(url(device), None, 4096, False, "")
    assert backing.read_bytes() == b"\xff" * 4 * MIB


def test_the_refusal_says_when_the_device_is_the_very_source_under_another_name(
    device: str, folder: Path, url: Url
) -> None:
    node = folder / "node"
    try:
        os.mknod(node, 0o60600, os.stat(device).st_rdev)
    except OSError as error:
        pytest.skip(f"no device nodes here: {error}")
    with pytest.raises(TargetExists, match="is a block device and is the very source of this version"):
        open_target(url(device), None, 4096, False, url(node))


def test_a_device_does_not_start_zeroed_and_its_tail_stays(device: str, backing: Path, url: Url) -> None:
    target = open_target(url(device), None, MIB + 1, True, "")
    assert not target.starts_zeroed
    target.write(0, b"x")
    target.zero(1, MIB)
    target.finish()
    assert backing.read_bytes() == b"x" + bytes(MIB) + b"\xff" * (3 * MIB - 1)


def test_clearing_gives_the_space_back_where_the_device_can(device: str, backing: Path, url: Url) -> None:
    target = open_target(url(device), None, 4 * MIB, True, "")
    target.zero(0, 4 * MIB)
    target.finish()
    assert backing.read_bytes() == bytes(4 * MIB)
    assert backing.stat().st_blocks * 512 < MIB


def test_a_device_too_small_is_refused_with_both_sizes(device: str, url: Url) -> None:
    with pytest.raises(TargetError, match="it has 4194304 bytes, the version needs at least 4194305"):
        open_target(url(device), None, 4 * MIB + 1, True, "")
    open_target(url(device), None, 4 * MIB, True, "").abandon()


def test_a_read_only_device_is_refused(backing: Path, loop: Loop, url: Url) -> None:
    with pytest.raises(TargetError, match="is read-only; make it writable"):
        open_target(url(loop(backing, "--read-only")), None, 4096, True, "")


def test_a_device_node_without_a_device_is_refused(folder: Path, url: Url) -> None:
    node = folder / "node"
    try:
        os.mknod(node, 0o60600, os.makedev(259, 4000))
    except OSError as error:
        pytest.skip(f"no device nodes here: {error}")
    with pytest.raises(TargetError, match=r"cannot open .*node for writing: No such device"):
        open_target(url(node), None, 4096, True, "")


def test_a_mounted_device_is_left_alone(ext4: tuple[str, Path, Path], url: Url) -> None:
    device, where, _ = ext4
    assert f"{device} is in use: it is mounted on {where}" in refused(url(device))


def test_a_device_mounted_under_a_number_of_no_device_is_found_by_its_path(device: str, mount: Mount, url: Url) -> None:
    # As btrfs does it: the table then shows the path and a number that belongs to no device.
    where = mount("tmpfs", device)
    assert f"it is mounted on {where}" in refused(url(device))


def test_a_device_mounted_where_only_the_kernel_sees_it_is_left_alone(device: str, url: Url) -> None:
    if not shutil.which("mkfs.ext4"):
        pytest.skip("mkfs.ext4 is not installed")
    run("mkfs.ext4", "-q", "-F", device)
    # Mounted in another mount namespace, as by a container.
    script = f"mount {device} /mnt && echo mounted && read wait"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        if other.stdout.readline() != "mounted\n":
            pytest.skip("no mount namespaces here")
        assert "held by the kernel or another restore" in refused(url(device))
        other.communicate("\n")


@pytest.fixture
def partition(folder: Path, loop: Loop) -> Iterator[tuple[str, str]]:
    """A loop device and its first partition."""
    path = folder / "disk with a partition.img"
    path.write_bytes(b"")
    os.truncate(path, 16 * MIB)
    whole = loop(path, "--partscan")
    run("addpart", whole, "1", "2048", str(8 * MIB // 512))
    part = f"{whole}p1"
    if not Path(part).exists():
        pytest.skip("the partition got no device node")
    yield whole, part
    subprocess.run(["delpart", whole, "1"], check=True, capture_output=True)


def test_a_device_with_a_mounted_partition_is_left_alone_and_so_is_the_partition(
    partition: tuple[str, str], mount: Mount, url: Url
) -> None:
    whole, part = partition
    run("mkfs.ext4", "-q", "-F", part)
    where = mount("ext4", part)
    assert f"its partition {Path(part).name} is mounted on {where}" in refused(url(whole))
    assert f"it is mounted on {where}" in refused(url(part))
    subprocess.run(["umount", str(where)], check=True)
    try:
        open_target(url(whole), None, 4096, True, "").abandon()
    finally:
        subprocess.run(["mount", part, str(where)], check=True)


def test_a_partition_of_a_disk_that_is_being_restored_is_left_alone(partition: tuple[str, str], url: Url) -> None:
    whole, part = partition
    target = open_target(url(whole), None, 4096, True, "")
    assert "held by the kernel or another restore" in refused(url(part))
    target.abandon()


def test_a_device_held_by_the_device_mapper_is_left_alone(device: str, url: Url) -> None:
    if not shutil.which("dmsetup"):
        pytest.skip("dmsetup is not installed")
    name = f"backy-test-{os.getpid()}"
    run("dmsetup", "create", name, "--table", f"0 2048 linear {device} 0")
    try:
        assert "it is part of dm-" in refused(url(device))
    finally:
        subprocess.run(["dmsetup", "remove", "--retry", name], check=True, capture_output=True)


def test_a_device_in_use_as_swap_is_left_alone(device: str, url: Url) -> None:
    run("mkswap", device)
    run("swapon", device)
    try:
        assert "it is in use as swap" in refused(url(device))
    finally:
        subprocess.run(["swapoff", device], check=True, capture_output=True)


def test_a_device_behind_another_loop_device_is_left_alone(device: str, loop: Loop, url: Url) -> None:
    above = loop(Path(device))
    assert f"it is attached to {above}" in refused(url(device))


def test_a_device_locked_by_a_running_guest_is_left_alone(device: str, url: Url) -> None:
    code = "import fcntl,sys; f=open(sys.argv[1],'r+b'); fcntl.lockf(f,fcntl.LOCK_SH,1,100); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, device], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as guest:
        assert guest.stdout
        guest.stdout.readline()
        assert "locked by another program" in refused(url(device))
        guest.communicate("\n")


def test_a_second_restore_to_the_same_device_is_refused(device: str, url: Url) -> None:
    first = open_target(url(device), None, 4096, True, "")
    assert "held by the kernel or another restore" in refused(url(device))
    first.finish()
    open_target(url(device), None, 4096, True, "").abandon()


def test_a_bad_sector_is_named_by_its_byte(device: str, backing: Path, url: Url) -> None:
    target = open_target(url(device), None, 4 * MIB, True, "")
    os.truncate(backing, MIB)  # the loop driver answers with EIO from there on
    # Part of a page: the kernel has to read the rest of it first.
    with pytest.raises(TargetError, match=r"cannot write .* at byte 2097153: Input/output error; check the disk"):
        target.write(2 * MIB + 1, b"x")
    target.abandon()


def test_a_device_that_loses_what_was_written_is_not_restored(mount: Mount, loop: Loop, url: Url) -> None:
    thin = mount("tmpfs", "none", "size=1m") / "thin.img"
    thin.write_bytes(b"")
    os.truncate(thin, 8 * MIB)
    target = open_target(url(loop(thin)), None, 8 * MIB, True, "")
    target.write(0, b"x" * 8 * MIB)
    with pytest.raises((TargetError, OutOfSpace), match="is not restored: its disk did not keep all the data"):
        target.finish()
    target.abandon()


def test_kill_9_in_the_middle_gives_the_device_back_and_the_next_restore_is_whole(
    device: str, backing: Path, url: Url
) -> None:
    code = """
import sys
from backy_io_file import open_target
target = open_target(sys.argv[1], None, 4 << 20, True, "")
for offset in range(0, 2 << 20, 1 << 16):
    target.write(offset, bytes([170]) * (1 << 16))
print("half", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, url(device)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    target = open_target(url(device), None, 4 * MIB, True, "")
    target.zero(0, 4 * MIB)
    target.write(MIB, b"new")
    target.finish()
    assert backing.read_bytes() == bytes(MIB) + b"new" + bytes(3 * MIB - 3)


def test_a_device_swapped_for_something_else_while_it_is_opened_is_refused(backing: Path) -> None:
    from backy_io_file.device import DeviceTarget

    with pytest.raises(TargetError, match="was replaced while it was opened"):
        DeviceTarget(str(backing), 4096)
