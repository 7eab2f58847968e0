"""Real places for the tests: loop devices, mounted file systems, and system calls made to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from backy_io_file.paths import location_of

Loop = Callable[..., str]
Mount = Callable[..., Path]
Injected = Callable[..., str]

PRELUDE = """
import os, sys
from backy_core.errors import BackyError
from backy_io_file import open_source, open_target
def restore(url, size=8192, force=False):
    return open_target(url, None, size, force, "")
"""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty directory with a space, a percent sign and an accent in its name."""
    place = tmp_path / "a 100% é place"
    place.mkdir()
    return place


@pytest.fixture
def url() -> Callable[[Path | str], str]:
    return lambda path: location_of(str(path))


@pytest.fixture
def loop(folder: Path) -> Iterator[Loop]:
    """Attaches a file as a loop device and says its name; detached afterwards."""
    if os.geteuid():
        pytest.skip("loop devices need root")

    with ExitStack() as stack:

        def attach(backing: Path, *options: str) -> str:
            try:
                device = run("losetup", "--find", "--show", *options, str(backing))
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"no loop device to be had: {error}")
            stack.callback(run, "losetup", "--detach", device)
            return device

        yield attach


@pytest.fixture
def mount(folder: Path) -> Iterator[Mount]:
    """Mounts something and says where; unmounted afterwards."""
    if os.geteuid():
        pytest.skip("mounting needs root")

    with ExitStack() as stack:

        def attach(kind: str, what: str, options: str = "rw") -> Path:
            where = folder / f"mounted {len(list(folder.iterdir()))}"
            where.mkdir()
            try:
                run("mount", "-t", kind, "-o", options, what, str(where))
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"cannot mount {kind}: {error}")
            stack.callback(run, "umount", str(where))
            return where

        yield attach


@pytest.fixture
def ext4(folder: Path, loop: Loop, mount: Mount) -> tuple[str, Path, Path]:
    """A small mounted ext4: its device, where it is mounted, and the file behind the device."""
    if not shutil.which("mkfs.ext4"):
        pytest.skip("mkfs.ext4 is not installed")
    backing = folder / "ext4.img"
    with backing.open("wb") as file:
        file.truncate(16 << 20)
    device = loop(backing)
    run("mkfs.ext4", "-q", "-F", "-E", "nodiscard", device)
    return device, mount("ext4", device), backing


@pytest.fixture
def injected() -> Injected:
    """Runs Python code in a process whose system calls fail as asked (strace's syntax); what it printed."""
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("strace is not installed")
    probe = [strace, "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", sys.executable, "-c", ""]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")

    def call(code: str, *injections: str, arguments: tuple[str, ...] = ()) -> str:
        names = ",".join(injection.split(":")[0] for injection in injections)
        options = [option for injection in injections for option in ("-e", f"inject={injection}")]
        script = f"{PRELUDE}\ntry:\n" + "\n".join(f"    {line}" for line in code.strip().splitlines())
        script += "\nexcept BackyError as error:\n    print(type(error).__name__, error)\n"
        command = [strace, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={names}", *options]
        done = subprocess.run(
            [*command, sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return call


@pytest.fixture
def as_nobody() -> Callable[[Callable[[], object]], str]:
    """Calls a function as a user who may do nothing; what it raised, as text, or an empty text."""

    def call(function: Callable[[], object]) -> str:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                if not os.geteuid():
                    os.setgroups([])
                    os.setgid(65534)
                    os.setuid(65534)
                function()
                told = ""
            except BaseException as error:  # noqa: BLE001 - told to the parent, which judges it
                told = f"{type(error).__name__} {error}"
            os.write(writer, told.encode("utf-8", "backslashreplace"))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            told = pipe.read().decode()
        os.waitpid(child, 0)
        return told

    return call
