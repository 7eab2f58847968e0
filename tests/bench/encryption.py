"""Compares an encrypted repository with a plain one, on one image, in one run.

    .venv/bin/python tests/bench/encryption.py [--image FILE] [--runs 5] [--directory DIR]

The two take turns. Throughput is the image's data by the seconds that the work itself took; what opening the key slot
takes (once per command, on purpose) is told apart. Prints a Markdown table; a ratio of 1 means that encryption is free.
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
from pathlib import Path

from bench import GIB, Bench, make_image

COMMAND = [sys.executable, "-c", "from backy_core.cli.main import main; main()"]
WORKS = ("first backup", "restore", "scrub")


def run(bench: Bench, repository: Path, *arguments: str) -> tuple[float, float]:
    """Seconds of the whole process, and of the work as the command reports it."""
    environment = {**bench.environment, "BACKY_REPOSITORY": str(repository), "BACKY_PASSPHRASE": "bench and only bench"}
    started = time.perf_counter()
    done = subprocess.run([*COMMAND, *arguments, "--json"], env=environment, stdout=subprocess.PIPE, check=True)
    wall = time.perf_counter() - started
    said = json.loads(done.stdout)
    return wall, said.get("statistics", said).get("duration_seconds", wall)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="backy-bench-", dir=options.directory))
    try:
        image = options.image.resolve() if options.image else make_image(work)
        bench = Bench(image, work)
        data = image.stat().st_blocks * 512
        took: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for number in range(options.runs):
            for kind in ("plain", "encrypted"):
                place = work / f"{kind}-{number}"
                place.mkdir()
                settings = work / f"{kind}-{number}.toml"
                more = ["--encrypt"] if kind == "encrypted" else []
                where = ["--store", str(place / "store"), "--metadata", f"sqlite://{place}/metadata.sqlite"]
                run(bench, settings, "init", *where, *more)
                bench.warm()
                took.setdefault(("first backup", kind), []).append(run(bench, settings, "backup", str(image), "vm-1"))
                target = work / "out.img"
                bench.cool()
                took.setdefault(("restore", kind), []).append(run(bench, settings, "restore", "vm-1", str(target)))
                subprocess.run(["cmp", str(image), str(target)], check=True)
                target.unlink()
                bench.cool()
                took.setdefault(("scrub", kind), []).append(run(bench, settings, "scrub", "vm-1"))
                shutil.rmtree(place)
        print(f"image: {data / GIB:.2f} GiB of data; {len(os.sched_getaffinity(0))} processors, {options.runs} runs\n")
        print("| work | plain MiB/s | encrypted MiB/s | ratio | whole process, s |")
        print("|---|---|---|---|---|")
        for what in WORKS:
            plain, sealed = ([work for _, work in took[what, kind]] for kind in ("plain", "encrypted"))
            ratio = statistics.median(one / other for one, other in zip(plain, sealed, strict=True))
            rates = [data / 2**20 / statistics.median(seconds) for seconds in (plain, sealed)]
            walls = [statistics.median(wall for wall, _ in took[what, kind]) for kind in ("plain", "encrypted")]
            print(f"| {what} | {rates[0]:.0f} | {rates[1]:.0f} | {ratio:.2f} | {walls[0]:.2f}, {walls[1]:.2f} |")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
