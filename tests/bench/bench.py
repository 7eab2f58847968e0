"""Times backy beside its peers on one real image, in one run, and prints the ratios: `make bench`.

    python tests/bench/bench.py [--directory DIR] [--runs 3] [--image FILE] [--json FILE]

Every figure is of whole processes as the operating system accounts for them: wall clock, and user + system CPU time of
the process and its children. "ratio" is backy's time by the other's, so small is good. backy ends when everything is
on the disk; the others end when it is in memory: "on disk" adds what it takes until theirs is on the disk, too.

The commands of one row run in turn, backy first, then each peer, `--runs` times over; the
median is printed. The image lies in the page cache before each backup; for restore and scrub the
cache is emptied, as root. A peer that is not installed is left out, and said
to be. The figures of one machine say little about another; the ratios do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

GIB = 1024**3
WANTED = int(2.3 * GIB)
BARS = {
    "first backup": {"zstd": 0.75, "borg": 0.45, "restic": 0.20},
    "unchanged again": {"borg": 0.45, "restic": 0.20},
    "restore": {"borg": 0.35, "restic": 0.50},
    "scrub": {"borg": 0.45},
}
"""Wall-clock ratios to reach."""


@dataclass
class Measured:
    """The runs of one command."""

    wall: list[float] = field(default_factory=list)
    durable: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peak: int = 0


class Bench:
    """One image, one working directory, and how each program does each work."""

    def __init__(self, image: Path, work: Path) -> None:
        self.image = image
        self.work = work
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("BACKY_", "BORG_", "RESTIC_"))}
        self.environment |= {
            "HOME": str(work / "home"),
            "XDG_CONFIG_HOME": str(work / "home/config"),
            "XDG_DATA_HOME": str(work / "home/data"),
            "XDG_CACHE_HOME": str(work / "home/cache"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "RESTIC_PASSWORD": "bench",
        }
        (work / "home").mkdir()

    def measure(self, measured: Measured, *command: str, cwd: Path | None = None, writes: Path | None = None) -> None:
        """Run a command and note what it took; `writes`: what it has written, and may have left in memory only."""
        with (self.work / "log").open("ab") as log:
            started = time.perf_counter()
            process = subprocess.Popen(command, env=self.environment, cwd=cwd or self.work, stdout=log, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            tail = (self.work / "log").read_text(errors="replace")[-2000:]
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{tail}")
        measured.wall.append(wall)
        measured.durable.append(wall + self.flush(writes))
        measured.cpu.append(usage.ru_utime + usage.ru_stime)
        measured.peak = max(measured.peak, usage.ru_maxrss * 1024)

    def flush(self, written: Path | None) -> float:
        """Seconds until a file, or every file below a folder, is on the disk."""
        if written is None:
            return 0.0
        started = time.perf_counter()
        for path in [written] if written.is_file() else written.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        return time.perf_counter() - started

    def quietly(self, *command: str, cwd: Path | None = None) -> None:
        """Run a command that is not measured."""
        self.measure(Measured(), *command, cwd=cwd)

    def cool(self) -> None:
        """Take everything out of the page cache, where that is allowed: a repository is cold when it is needed."""
        os.sync()
        if os.access("/proc/sys/vm/drop_caches", os.W_OK):
            Path("/proc/sys/vm/drop_caches").write_text("1")

    def warm(self) -> None:
        """Put the image into the page cache, and what was written before on the disk."""
        os.sync()
        with self.image.open("rb", buffering=0) as file:
            buffer = bytearray(4 * 1024 * 1024)
            while file.readinto(buffer):
                pass


class Backy:
    """The product, on SQLite and a directory store."""

    name = "backy"

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.number = 0
        self.command = [sys.executable, "-c", "from backy_core.cli.main import main; main()"]

    def first(self, measured: Measured) -> None:
        # Everybody gets a new place each time: ext4 is slow to give out inodes that were freed a moment ago.
        self.number += 1
        self.bench.environment["BACKY_REPOSITORY"] = str(self.bench.work / f"backy-{self.number}.toml")
        place = self.bench.work / f"backy-{self.number}"
        place.mkdir()
        self.bench.quietly(
            *self.command, "init", "--store", str(place / "store"), "--metadata", f"sqlite://{place}/metadata.sqlite"
        )
        self.bench.warm()
        self.bench.measure(measured, *self.command, "backup", str(self.bench.image), "vm-1", writes=place)

    def again(self, measured: Measured) -> None:
        self.bench.warm()
        self.bench.measure(measured, *self.command, "backup", str(self.bench.image), "vm-1")

    def restore(self, measured: Measured) -> None:
        target = self.bench.work / "out.img"
        self.bench.cool()
        self.bench.measure(measured, *self.command, "restore", "vm-1", str(target), writes=target)
        self.bench.quietly("cmp", str(self.bench.image), str(target))
        target.unlink()

    def scrub(self, measured: Measured) -> None:
        self.bench.cool()
        self.bench.measure(measured, *self.command, "scrub", "vm-1")


class Zstd:
    """The yardstick of a first backup: compressing the image on two threads."""

    name = "zstd"

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def first(self, measured: Measured) -> None:
        out = self.bench.work / "out.zst"
        self.bench.warm()
        self.bench.measure(measured, "zstd", "-q", "-1", "-T2", "-f", str(self.bench.image), "-o", str(out), writes=out)
        out.unlink()


class Borg:
    """borg with fixed chunks of 4 MiB, without encryption."""

    name = "borg"

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.repository = bench.work / "borg"
        self.number = 0

    def _create(self, measured: Measured) -> None:
        self.number += 1
        self.bench.warm()
        command = ["borg", "create", "--chunker-params", "fixed,4194304", "--compression", "zstd,1"]
        self.bench.measure(
            measured,
            *command,
            "--files-cache",
            "disabled",
            f"{self.repository}::{self.number}",
            self.bench.image.name,
            cwd=self.bench.image.parent,
            writes=self.repository,
        )

    def first(self, measured: Measured) -> None:
        self.repository = self.bench.work / f"borg-{self.number}"
        shutil.rmtree(self.bench.work / "home/cache/borg", ignore_errors=True)
        shutil.rmtree(self.bench.work / "home/config/borg", ignore_errors=True)
        self.bench.quietly("borg", "init", "-e", "none", str(self.repository))
        self._create(measured)

    def again(self, measured: Measured) -> None:
        self._create(measured)

    def restore(self, measured: Measured) -> None:
        out = self.bench.work / "borg-out"
        out.mkdir()
        self.bench.cool()
        self.bench.measure(
            measured, "borg", "extract", "--sparse", f"{self.repository}::{self.number}", cwd=out, writes=out
        )
        shutil.rmtree(out)

    def scrub(self, measured: Measured) -> None:
        self.bench.cool()
        self.bench.measure(measured, "borg", "check", "--verify-data", str(self.repository))


class Restic:
    """restic as it comes, with its encryption, which it cannot do without."""

    name = "restic"

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.number = 0
        self.repository = bench.work / "restic"

    def first(self, measured: Measured) -> None:
        self.number += 1
        self.repository = self.bench.work / f"restic-{self.number}"
        self.bench.quietly("restic", "-q", "init", "-r", str(self.repository))
        self.again(measured)

    def again(self, measured: Measured) -> None:
        self.bench.warm()
        self.bench.measure(
            measured,
            *("restic", "-q", "backup", "--force", "-r", str(self.repository), str(self.bench.image)),
            writes=self.repository,
        )

    def restore(self, measured: Measured) -> None:
        out = self.bench.work / "restic-out"
        self.bench.cool()
        self.bench.measure(
            measured, "restic", "-q", "restore", "latest", "-r", str(self.repository), "-t", str(out), writes=out
        )
        shutil.rmtree(out)

    def scrub(self, measured: Measured) -> None:
        self.bench.cool()
        self.bench.measure(measured, "restic", "-q", "check", "--read-data", "-r", str(self.repository))


def make_image(directory: Path) -> Path:
    """An ext4 image of a disk that is half full: some 2.3 GiB of this machine's own files, each once."""
    image = directory / "disk.img"
    tree = directory / "tree"
    copied, seen = 0, set()
    for root in dict.fromkeys([Path("/usr"), Path(sys.base_prefix).parent, Path("/opt"), Path("/var/lib")]):
        for folder, _, names in os.walk(root):
            for name in names:
                path = Path(folder) / name
                if copied >= WANTED or path.is_symlink() or not path.is_file():
                    continue
                found = path.stat()
                if (found.st_dev, found.st_ino) in seen or not os.access(path, os.R_OK):
                    continue
                seen.add((found.st_dev, found.st_ino))
                target = tree / path.relative_to("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                copied += found.st_size
    with image.open("wb") as file:
        file.truncate(copied * 2 // 4096 * 4096 + 256 * 1024 * 1024)
    subprocess.run(
        ["mkfs.ext4", "-q", "-F", "-d", str(tree), str(image)],
        check=True,
        env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
    )
    shutil.rmtree(tree)
    return image


def startup(bench: Bench, runs: int) -> dict[str, float]:
    """CPU seconds of the commands that people wait for most often; the median of several runs."""
    command = Backy(bench).command
    found = {}
    for arguments in (["--help"], ["ls"]):
        measured = Measured()
        for _ in range(max(runs, 5) + 1):
            bench.measure(measured, *command, *arguments)
        found[f"backy {arguments[0]}"] = statistics.median(measured.cpu[1:])
    return found


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, help="where to work: needs some 15 GiB (default: temporary)")
    parser.add_argument("--image", type=Path, help="an image of your own instead of a made one")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="backy-bench-", dir=options.directory))
    try:
        run(options, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def run(options: argparse.Namespace, work: Path) -> None:
    """Make the image, measure, print."""
    image = options.image.resolve() if options.image else make_image(work)
    found = image.stat()
    print(
        f"image: {found.st_size / GIB:.2f} GiB, {found.st_blocks * 512 / GIB:.2f} GiB of it data; "
        f"{len(os.sched_getaffinity(0))} processors, {options.runs} runs, medians\n"
    )
    bench = Bench(image, work)
    programs = [Backy(bench), Zstd(bench), Borg(bench), Restic(bench)]
    present = [program for program in programs if program.name == "backy" or shutil.which(program.name)]
    for program in programs:
        if program not in present:
            print(f"{program.name} is not installed: left out")
    figures: dict[str, dict[str, Measured]] = {}
    for title, verb in (
        ("first backup", "first"),
        ("unchanged again", "again"),
        ("restore", "restore"),
        ("scrub", "scrub"),
    ):
        row = figures[title] = {program.name: Measured() for program in present if hasattr(program, verb)}
        for _ in range(options.runs):
            for program in present:
                act: Callable[[Measured], None] | None = getattr(program, verb, None)
                if act is not None:
                    act(row[program.name])
    print(f"{'':16}{'':7}{'CPU s':>8}{'peak MiB':>9}{'wall s':>8}{'ratio':>7}{'on disk s':>11}{'ratio':>7}   bar")
    for title, row in figures.items():
        own = row["backy"]
        for name, measured in row.items():
            ratios = [
                statistics.median(mine) / statistics.median(theirs)
                for mine, theirs in ((own.wall, measured.wall), (own.durable, measured.durable))
            ]
            bar = BARS[title].get(name)
            verdict = "" if bar is None else f"{bar:.2f} " + ("reached" if ratios[0] <= bar else "missed")
            print(
                f"{title:16}{name:7}{statistics.median(measured.cpu):8.2f}{measured.peak / 2**20:9.0f}"
                f"{statistics.median(measured.wall):8.2f}{ratios[0]:7.2f}"
                f"{statistics.median(measured.durable):11.2f}{ratios[1]:7.2f}   {verdict}"
            )
    for command, seconds in startup(bench, options.runs).items():
        print(f"{command:16} {seconds * 1000:.0f} ms of CPU")
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    title: {
                        name: {"wall": m.wall, "on disk": m.durable, "cpu": m.cpu, "peak": m.peak}
                        for name, m in row.items()
                    }
                    for title, row in figures.items()
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
