"""kill -9 at any moment: what was acknowledged restores, nothing is called valid that is not, no repair is needed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

BLOCK = 65536
ROUNDS = int(os.environ.get("BACKY_KILL_ROUNDS", "160"))
SEEDS = 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_kill_minus_nine_loses_nothing_acknowledged(place: SimpleNamespace, seed: int) -> None:
    """Each round starts a command, kills it after a random time, checks the repository with a reader of its own, and
    every few rounds lets all commands run through and compares every acknowledged version byte for byte."""
    rng = random.Random(seed)
    place.init("--block-size", str(BLOCK))
    image = place.base / "disk.img"
    content = bytearray(rng.randbytes(200 * BLOCK + 1234))
    contents: dict[str, bytes] = {}  # uid -> what it must restore to
    promised: dict[
        str, bytes
    ] = {}  # the same of versions whose manifest is fixed and which some later command finishes
    usual = {"backup": 1.0, "restore": 0.6, "rm": 0.6, "cleanup": 0.6}  # seconds
    killed = dict.fromkeys(usual, 0)
    ended = dict.fromkeys(usual, 0)

    def versions() -> dict[str, str]:
        done = place.run("ls", "--json")
        assert done.code == 0, done.err
        return {version["uid"]: version["state"] for version in json.loads(done.out)["versions"]}

    for number in range(ROUNDS // SEEDS):
        action = rng.choice(["backup", "backup", "restore", "rm", "cleanup"])
        before = set(contents)
        victim = rng.choice(sorted(contents)) if contents else None
        if action in ("restore", "rm") and victim is None:
            action = "backup"
        if action == "backup":
            for _ in range(rng.randrange(1, 40)):
                at = rng.randrange(len(content))
                piece = rng.choice([rng.randbytes(3000), bytes(BLOCK * 2)])
                content[at : at + len(piece)] = piece[: len(content) - at]
            image.write_bytes(content)
            process = place.start("backup", str(image), "vm-1")
        elif action == "restore":
            (place.base / "out.img").unlink(missing_ok=True)
            process = place.start("restore", str(victim), str(place.base / "out.img"))
        elif action == "rm":
            process = place.start("rm", str(victim))
        else:
            process = place.start("cleanup")
        started = time.monotonic()
        # One in seven runs to its end, and says how long that takes on this machine; the others are killed before.
        if rng.random() < 0.85:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=rng.uniform(0.3, 1.0) * usual[action])
        else:
            process.wait(timeout=300)
        was_killed = process.poll() is None
        process.kill()
        _, err = process.communicate()
        if was_killed:
            killed[action] += 1
        else:
            assert process.returncode == 0, (action, err)
            ended[action] += 1
            usual[action] = time.monotonic() - started

        place.check()
        states = versions()
        for uid in states.keys() - before:
            if states[uid] == "valid":  # valid means complete, whether or not the command lived to say so
                assert action == "backup" or uid in promised
                contents[uid] = promised.pop(uid, bytes(content))
        for uid in promises(place):
            promised.setdefault(uid, bytes(content))
        if action == "backup":
            if not was_killed:
                assert set(contents) - before, "an acknowledged backup must be there"
        elif action == "rm" and states.get(str(victim)) != "valid":
            contents.pop(str(victim))
        elif action == "restore":
            out_file = place.base / "out.img"
            if not was_killed or out_file.exists():
                assert out_file.read_bytes() == contents[str(victim)]
        assert {uid for uid, state in states.items() if state == "valid"} == set(contents)
        if number % 10 == 9:
            check_everything(place, contents)
    check_everything(place, contents)
    contents |= promised  # the last of them was finished by one of these commands
    check_everything(place, contents)
    for uid in contents:
        assert place.run("rm", uid).code == 0
    # The next backup of the volume takes up, or clears away, what an interrupted one has left.
    image.write_bytes(b"")
    assert place.run("backup", str(image), "vm-1").code == 0
    assert place.run("cleanup").code == 0
    place.check(clean=True)
    assert not list((place.base / "store" / "c").glob("*/*"))
    assert min(killed.values()) > 0, f"every command must have been killed at least once: {killed}"
    assert sum(ended.values()) > 0, "and some must have come through"
    print(f"killed {killed}, came through {ended}")  # noqa: T201 - shown with -s: the figures of this run


def promises(place: SimpleNamespace) -> list[str]:
    """The versions that only wait for somebody to finish them."""
    with closing(sqlite3.connect(place.base / "metadata.sqlite")) as db:
        return [uid for (uid,) in db.execute("SELECT uid FROM versions WHERE id IN (SELECT version FROM promises)")]


def check_everything(place: SimpleNamespace, contents: dict[str, bytes]) -> None:
    """Every command works at once without repair, and every acknowledged version is what it was."""
    for uid, expected in contents.items():
        target: Path = place.base / "check.img"
        target.unlink(missing_ok=True)
        done = place.run("restore", uid, str(target))
        assert done.code == 0, done.err
        assert target.read_bytes() == expected
    done = place.run("cleanup")
    assert done.code == 0, done.err
    done = place.run("scrub")
    assert done.code == 0, done.err
    done = place.run("check-database")
    assert done.code == 0, done.out
    place.check(clean=True)


def test_an_interrupted_backup_uploads_only_what_is_missing(place: SimpleNamespace) -> None:
    place.init("--block-size", str(BLOCK))
    image = place.base / "disk.img"
    image.write_bytes(os.urandom(6000 * BLOCK))
    chunks = place.base / "store" / "c"
    process = place.start("backup", str(image), "vm-1")
    while sum(1 for _ in chunks.glob("*/*")) < 300 and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -9, "the machine was too fast for this test"
    assert json.loads(place.run("ls", "--json").out)["versions"][0]["interrupted"] is True
    done = place.run("backup", str(image), "vm-1", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["continued"] is True
    assert report["statistics"]["new_chunks"] < 5900, "what the killed run had published is not uploaded again"
    assert place.run("restore", "vm-1", str(place.base / "out.img")).code == 0
    assert (place.base / "out.img").read_bytes() == image.read_bytes()
    assert place.run("cleanup").code == 0
    place.check(clean=True)
