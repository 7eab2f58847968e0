"""Block devices as sources and targets: real loop devices, through the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BLOCK = 4 * 1024 * 1024


def backy(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from backy_core.cli.main import main; main()", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def loop_device(tmp_path: Path) -> Iterator[Callable[[int, bytes], Path]]:
    """Attaches a loop device of that size, filled with repetitions of that byte string."""
    if os.geteuid() != 0:
        pytest.skip("needs root to attach loop devices")
    attached: list[str] = []

    def attach(size: int, filling: bytes) -> Path:
        backing = tmp_path / f"backing-{len(attached)}"
        backing.write_bytes((filling * (size // len(filling) + 1))[:size])
        done = subprocess.run(
            ["/usr/sbin/losetup", "-f", "--show", str(backing)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"no loop device to be had: {done.stderr.strip()}")
        attached.append(done.stdout.strip())
        return Path(attached[-1])

    yield attach
    for device in attached:
        subprocess.run(["/usr/sbin/losetup", "-d", device], check=True)


def test_init_backup_and_restore_from_any_directory_without_configuration(
    home: Path, tmp_path: Path, loop_device: Callable[[int, bytes], Path]
) -> None:
    size = 5 * BLOCK + 512 * 3
    source = loop_device(size, os.urandom(70_001))
    somewhere = tmp_path / "some where"
    somewhere.mkdir()
    for arguments in (["init"], ["backup", str(source), "vm-1"], ["restore", "vm-1", "out.img"]):
        done = backy(*arguments, cwd=somewhere)
        assert done.returncode == 0, done.stderr
    assert (somewhere / "out.img").read_bytes() == source.read_bytes()
    assert (somewhere / "out.img").stat().st_size == size


def test_an_unaligned_image_goes_to_a_device_and_back_and_leaves_nothing_old(
    home: Path, tmp_path: Path, loop_device: Callable[[int, bytes], Path]
) -> None:
    image = tmp_path / "disk.img"
    size = 4 * BLOCK + 1234
    with image.open("wb") as file:
        file.truncate(size)
        file.seek(BLOCK + 5)
        file.write(b"data between holes")
        file.seek(size - 1)
        file.write(b"x")
    target = loop_device(8 * BLOCK, b"\xff")
    assert backy("init", cwd=tmp_path).returncode == 0
    assert backy("backup", "disk.img", "vm-1", cwd=tmp_path).returncode == 0
    refused = backy("restore", "vm-1", str(target), cwd=tmp_path)
    assert refused.returncode == 5
    assert "--force" in refused.stderr
    done = backy("restore", "vm-1", str(target), "--force", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    content = target.read_bytes()
    assert content[:size] == image.read_bytes(), "no old byte shows in a hole"
    assert content[size:] == b"\xff" * (8 * BLOCK - size), "what lies behind the version is left alone"


def test_a_device_that_is_too_small_or_mounted_is_refused_before_a_byte_is_written(
    home: Path, tmp_path: Path, loop_device: Callable[[int, bytes], Path]
) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(os.urandom(20 * 1024 * 1024))
    assert backy("init", cwd=tmp_path).returncode == 0
    assert backy("backup", "disk.img", "vm-1", cwd=tmp_path).returncode == 0
    small = loop_device(BLOCK, b"\xff")
    done = backy("restore", "vm-1", str(small), "--force", cwd=tmp_path)
    assert done.returncode == 5
    assert "20971520" in done.stderr or "20.0 MiB" in done.stderr
    assert small.read_bytes() == b"\xff" * BLOCK
    mounted = loop_device(32 * 1024 * 1024, b"\0")
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", str(mounted)], check=True)
    (tmp_path / "mnt").mkdir()
    tried = subprocess.run(["mount", str(mounted), str(tmp_path / "mnt")], check=False)
    if tried.returncode:
        pytest.skip("cannot mount here")
    try:
        before = mounted.read_bytes()
        done = backy("restore", "vm-1", str(mounted), "--force", cwd=tmp_path)
        assert done.returncode == 5, done.stderr
        assert "mounted" in done.stderr
        assert mounted.read_bytes() == before
    finally:
        subprocess.run(["umount", str(tmp_path / "mnt")], check=True)


def test_the_source_itself_is_named_when_it_is_the_target(home: Path, tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(os.urandom(10_000))
    before = (tmp_path / "disk.img").read_bytes()
    assert backy("init", cwd=tmp_path).returncode == 0
    assert backy("backup", "disk.img", "vm-1", cwd=tmp_path).returncode == 0
    done = backy("restore", "vm-1", "disk.img", cwd=tmp_path)
    assert done.returncode == 5
    assert "very source of this version" in done.stderr
    assert (tmp_path / "disk.img").read_bytes() == before
