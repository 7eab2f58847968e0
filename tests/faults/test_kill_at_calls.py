"""kill -9 exactly at the n-th write, fsync, link or unlink of a command, n swept over its whole life."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

BLOCK = 65536
CALLS = "pwrite64,writev,pwritev,write,fsync,fdatasync,linkat,link,renameat2,rename,unlink,unlinkat,ftruncate,fallocate"
MOST_POINTS = int(os.environ.get("BACKY_KILL_POINTS", "8"))
"""Kill points of each command; every one with a large enough number."""


def traced(place: SimpleNamespace, number: int, *arguments: str) -> int:
    """Run a command and kill it in its n-th such call; the number of the killed or exit code."""
    inject = f"inject={CALLS}:signal=SIGKILL:when={number}"
    command = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={CALLS}", "-e", inject, *place.command]
    done = subprocess.run(
        [*command, *arguments], env=place.environment, capture_output=True, timeout=120, check=False, text=True
    )
    assert "Traceback" not in done.stderr
    return done.returncode


def calls_of(place: SimpleNamespace, *arguments: str) -> int:
    """How many such calls the busiest thread of the command makes: strace counts for each thread by itself."""
    log = place.base / "strace.log"
    command = ["strace", "-f", "-qqq", "-o", str(log), "-e", f"trace={CALLS}", *place.command, *arguments]
    done = subprocess.run(command, env=place.environment, capture_output=True, timeout=120, check=False, text=True)
    if "ptrace" in done.stderr:
        pytest.skip(f"strace cannot trace here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = {}
    for line in log.read_text().splitlines():
        thread = line.split(maxsplit=1)[0]
        counts[thread] = counts.get(thread, 0) + 1
    return max(counts.values())


@pytest.mark.slow
@pytest.mark.parametrize("action", ["backup", "restore", "rm", "cleanup", "tag"])
def test_killed_at_any_call_nothing_is_lost(place: SimpleNamespace, tmp_path: Path, action: str) -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    place.init("--block-size", str(BLOCK))
    image = place.base / "disk.img"
    contents: dict[str, bytes] = {}
    content = bytearray(os.urandom(30 * BLOCK + 77))
    for number in range(3):
        content[number * 8 * BLOCK : number * 8 * BLOCK + BLOCK] = os.urandom(BLOCK)
        image.write_bytes(content)
        done = place.run("backup", str(image), "vm-1", "--json")
        assert done.code == 0, done.err
        contents[json.loads(done.out)["version"]["uid"]] = bytes(content)
    victim = next(iter(contents))
    if action == "cleanup":
        assert place.run("rm", victim).code == 0
        del contents[victim]
    content[5 * BLOCK : 9 * BLOCK] = os.urandom(4 * BLOCK)
    image.write_bytes(content)
    out = place.base / "out.img"
    arguments = {
        "backup": ["backup", str(image), "vm-1"],
        "restore": ["restore", victim, str(out)],
        "rm": ["rm", victim],
        "cleanup": ["cleanup"],
        "tag": ["tag", victim, "--add", "one", "--add", "two"],
    }[action]
    original = tmp_path / "original"
    shutil.copytree(place.base, original)

    def reset() -> None:
        shutil.rmtree(place.base)
        shutil.copytree(original, place.base)

    last = calls_of(place, *arguments)
    points = list(range(1, last + 1))
    if last > MOST_POINTS:
        points = sorted(random.Random(action).sample(points, MOST_POINTS))
    died = 0
    for number in points:
        reset()
        died += traced(place, number, *arguments) in (-9, 137)
        place.check()
        for uid, expected in contents.items():
            if action == "rm" and uid == victim:
                continue
            out.unlink(missing_ok=True)
            done = place.run("restore", uid, str(out))
            assert done.code == 0, (number, done.err)
            assert out.read_bytes() == expected, number
        out.unlink(missing_ok=True)
        # Whatever comes next puts what the killed run has decided.
        again = place.run(*arguments)
        assert again.code in ((0, 4) if action == "rm" else (0,)), (number, again.err)
        done = place.run("cleanup")
        assert done.code == 0, (number, done.err)
        place.check(clean=True)
        done = place.run("check-database")
        assert done.code == 0, (number, done.out, done.err)
    # Threads share the work differently each time, so a late call may not come in the thread that made it before.
    assert died > 1, f"only {died} of {len(points)} were killed"
    print(f"{action}: killed at {died} of {last} calls")  # noqa: T201 - shown with -s: the figures of this run
