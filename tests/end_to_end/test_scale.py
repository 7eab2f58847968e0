"""Volumes far larger than this machine's disks: what grows is what changed, not what is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
from datetime import UTC, datetime
from backy_core.backup import backup
from backy_core.contracts.source import Source
from backy_core.extents import BlockRanges
from backy_core.model import Extent
from backy_core.repository import Repository

BLOCK = 4 * 1024 * 1024
size, changes = int(sys.argv[1]) * 2**40, int(sys.argv[2])
step = size // BLOCK // changes

class Sparse(Source):
    location = "memory://sparse"
    def __init__(self, mark):
        self.size, self.mark = size, mark
    def read_into(self, offset, buffer):
        buffer[:] = bytes(len(buffer))
        if offset // BLOCK % step == 0:
            buffer[:32] = f"{self.mark} {offset}".ljust(32).encode()
    def data_extents(self):
        for number in range(changes):
            yield Extent(number * step * BLOCK, 4096)

with Repository.open() as repository:
    counters = repository.meta.counters
    figures = {}
    for mark in ("full", "hints"):
        hints = None
        if mark == "hints":
            hints = BlockRanges()
            for number in range(changes):
                hints.add(number * step, number * step + 1)
        rows, statements = counters.map_rows_written, counters.statements
        with repository._writing("backup") as session:
            report = backup(repository.engine, session, Sparse(mark), "vm", created=datetime.now(UTC), hints=hints)
        figures[mark] = {
            "rows": counters.map_rows_written - rows,
            "statements": counters.statements - statements,
            "new": report.statistics.new_chunks,
            "seconds": report.statistics.duration_seconds,
        }
    # Not getrusage: its maximum includes what the parent had in memory when it forked.
    status = open("/proc/self/status").read()
    figures["peak"] = int(status.split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps(figures))
"""

MIB = 1024 * 1024


def figures(tmp_path: Path, tebibytes: int, changes: int) -> dict[str, dict[str, int]]:
    place = tmp_path / str(tebibytes)
    environment = {**os.environ, "HOME": str(place), "BACKY_REPOSITORY": str(place / "r.toml")}
    command = [sys.executable, "-c", "from backy_core.cli.main import main; main()", "init"]
    subprocess.run([*command, "--store", place, "--metadata", f"sqlite://{place}.sqlite"], env=environment, check=True)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tebibytes), str(changes)],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, dict[str, int]] = json.loads(done.stdout)
    print(tebibytes, "TiB:", found)  # noqa: T201 - shown with -s: the figures of this run
    return found


@pytest.mark.slow
def test_an_incremental_costs_the_same_at_any_size_and_memory_stays_bounded(tmp_path: Path) -> None:
    small, large = figures(tmp_path, 1, 500), figures(tmp_path, 64, 500)
    for found in (small, large):
        assert found["full"]["rows"] == found["full"]["new"] == 500
        assert found["hints"]["rows"] == found["hints"]["new"] == 500
    # Hinted blocks lie further apart in the larger volume; what is asked of the database does not.
    assert abs(large["hints"]["statements"] - small["hints"]["statements"]) <= 0.05 * small["hints"]["statements"]
    assert int(large["peak"]) <= 256 * MIB  # type: ignore[call-overload]
