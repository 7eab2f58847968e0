"""A real installation of backy2 2.9.17 in an environment of its own, and places for it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# The tests are imported one by one, not as a package: their shared modules are found here.
sys.path.insert(0, str(Path(__file__).parent))

CONFIGURATION = """
[DEFAULTS]
logfile: {place}/backy.log
block_size: {block}
hash_function: {hash}
lock_dir: {place}/lock
process_name: backy2
disallow_rm_when_younger_than_days: 0
[MetaBackend]
type: backy2.meta_backends.sql
engine: sqlite:///{place}/backy.sqlite
[DataBackend]
type: backy2.data_backends.file
path: {place}/data
simultaneous_writes: 2
simultaneous_reads: 2
[NBD]
cachedir: {place}
[io_file]
simultaneous_reads: 2
"""
UNREACHABLE = re.compile(r"No matching distribution|Connection|Temporary failure|timed out|Max retries", re.IGNORECASE)
PINNED = ("backy2==2.9.17", "SQLAlchemy<1.4")


class Backy2:
    """An installation of backy2: its configuration, database and blobs below one folder."""

    def __init__(self, program: Path, place: Path, block: int, hash: str) -> None:
        self.program, self.place = program, place
        self.data = place / "data"
        for folder in (self.data, place / "lock"):
            folder.mkdir(parents=True)
        self.configuration = place / "backy.cfg"
        self.configuration.write_text(CONFIGURATION.format(place=place, block=block, hash=hash))
        self.run("initdb")

    def run(self, *arguments: str, code: int = 0) -> str:
        command = [str(self.program), "-m", "-c", str(self.configuration), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "TZ": "Asia/Tokyo"}
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def uids(self) -> list[str]:
        """Of all versions, oldest first as far as seconds tell."""
        lines = sorted(line.split("|") for line in self.run("ls").splitlines() if line.startswith("version|"))
        return [line[6] for line in lines]

    def backup(self, image: Path, name: str, *options: str) -> str:
        """Back up an image; the new version's uid."""
        before = set(self.uids())
        self.run("backup", *options, f"file://{image}", name)
        (new,) = set(self.uids()) - before
        return new

    def export(self, uid: str) -> Path:
        path = self.place / f"{uid}.csv"
        self.run("export", uid, str(path))
        return path


@pytest.fixture(scope="session")
def backy2_program(pytestconfig: pytest.Config) -> Path:
    """The command backy2, installed once into .venv/backy2."""
    place = pytestconfig.rootpath / ".venv" / "backy2"
    place.parent.mkdir(exist_ok=True)
    with (place.parent / "backy2.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = place / "installed"
        if not made.exists() or made.read_text() != repr(PINNED):
            install(place)
            made.write_text(repr(PINNED))
    return place / "bin" / "backy2"


def install(place: Path) -> None:
    # What backy2 needs of Python was taken out of 3.12.
    python = sys.executable if sys.version_info < (3, 12) else shutil.which("python3.11")
    if python is None:
        pytest.skip("backy2 2.9.17 needs Python 3.11, and there is none")
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([python, "-m", "venv", str(place)], check=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for packages in (["setuptools<81", "wheel"], ["--no-build-isolation", *PINNED]):
        done = subprocess.run([*pip, *packages], capture_output=True, text=True, check=False)
        if done.returncode and UNREACHABLE.search(done.stderr) and not os.environ.get("CI"):
            pytest.skip(f"backy2 cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr


@pytest.fixture
def backy2(backy2_program: Path, tmp_path: Path) -> Callable[..., Backy2]:
    """Makes a fresh installation of backy2."""

    def make(block: int = 64 * 1024, hash: str = "sha512", name: str = "backy2 here") -> Backy2:
        return Backy2(backy2_program, tmp_path / name, block, hash)

    return make
