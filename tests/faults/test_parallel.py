"""Everything at once on one SQLite repository: all of it succeeds, and nobody waits long for the database."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from types import SimpleNamespace

BLOCK = 65536

SCRIPT = """
import json, sys
from pathlib import Path
from backy_core.repository import Repository

action, *arguments = sys.argv[1:]
with Repository.open() as repository:
    result = None
    if action == "backup":
        image, volume, rounds = arguments
        for number in range(int(rounds)):
            with open(image, "r+b") as file:
                for place in range(number, 400, 7):
                    file.seek(place * 65536)
                    file.write(f"{volume} {number} {place}".encode().ljust(64))
            result = repository.backup(image, volume).version.uid
            with open(f"{image}.{result}", "wb") as copy:
                copy.write(Path(image).read_bytes())
    elif action == "restore":
        for number in range(int(arguments[1])):
            assert not repository.restore(arguments[0], arguments[2], force=True).damage
    elif action == "scrub":
        for number in range(int(arguments[1])):
            assert not repository.scrub([arguments[0]]).damage
    elif action == "rm":
        for uid in arguments:
            repository.remove([uid])
    elif action == "cleanup":
        for number in range(int(arguments[0])):
            repository.cleanup()
    counters = repository.meta.counters
    print(json.dumps({"wait": counters.longest_wait, "held": counters.longest_held, "n": counters.transactions}))
"""

LONGEST_WAIT = 2.0
"""Seconds. The promise of the manual, measured where every writer asks for the lock; transactions are bounded to make
it hold, and waiting is first come, first served."""


def test_two_backups_a_restore_a_scrub_an_rm_and_a_cleanup_at_once(place: SimpleNamespace) -> None:
    place.init("--block-size", str(BLOCK))
    rng = random.Random(3)
    for volume in ("vm-1", "vm-2", "old"):
        (place.base / f"{volume}.img").write_bytes(rng.randbytes(400 * BLOCK + 99))
    doomed: list[str] = []
    for number in range(8):
        with (place.base / "old.img").open("r+b") as file:
            file.seek(number * 20 * BLOCK)
            file.write(os.urandom(20 * BLOCK))
        done = place.run("backup", str(place.base / "old.img"), "old", "--json")
        assert done.code == 0, done.err
        doomed.append(json.loads(done.out)["version"]["uid"])
    kept = doomed.pop()

    place.command[:] = [place.command[0], "-c", SCRIPT]
    try:
        running = [
            place.start("backup", str(place.base / "vm-1.img"), "vm-1", "6"),
            place.start("backup", str(place.base / "vm-2.img"), "vm-2", "6"),
            place.start("restore", kept, "5", str(place.base / "out.img")),
            place.start("scrub", kept, "8"),
            place.start("rm", *doomed),
            place.start("cleanup", "10"),
        ]
        ended = [(process.communicate(timeout=300), process.returncode) for process in running]
    finally:
        place.command[:] = [place.command[0], "-c", "from backy_core.cli.main import main; main()"]
    assert [code for _, code in ended] == [0] * 6, [err for (_, err), _ in ended]
    counters = [json.loads(out.splitlines()[-1]) for (out, _), _ in ended]
    print(counters)  # noqa: T201 - shown with -s: the figures of this run
    assert max(counter["wait"] for counter in counters) <= LONGEST_WAIT, counters
    assert sum(counter["n"] for counter in counters) > 100, "they did write"

    place.check()
    states = {v["uid"]: v["state"] for v in json.loads(place.run("ls", "--json").out)["versions"]}
    assert set(states.values()) == {"valid"}
    assert len(states) == 13
    for uid in states:
        for copy in place.base.glob(f"*.{uid}"):
            target = Path(place.base / "check.img")
            target.unlink(missing_ok=True)
            assert place.run("restore", uid, str(target)).code == 0
            assert target.read_bytes() == copy.read_bytes()
    assert place.run("cleanup").code == 0
    place.check(clean=True)


def test_two_backups_of_one_volume_at_once_both_count(place: SimpleNamespace) -> None:
    place.init("--block-size", str(BLOCK))
    images = [place.base / "one.img", place.base / "two.img"]
    for image in images:
        image.write_bytes(os.urandom(600 * BLOCK))
    running = [place.start("backup", str(image), "vm-1", "--json") for image in images]
    reports = []
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        reports.append(json.loads(out)["version"]["uid"])
    for uid, image in zip(reports, images, strict=True):
        target = place.base / f"{uid}.img"
        assert place.run("restore", uid, str(target)).code == 0
        assert target.read_bytes() == image.read_bytes()


def test_a_version_that_is_being_restored_cannot_be_removed(place: SimpleNamespace) -> None:
    place.init("--block-size", str(BLOCK))
    image = place.base / "disk.img"
    image.write_bytes(os.urandom(3000 * BLOCK))
    assert place.run("backup", str(image), "vm-1").code == 0
    restoring = place.start("restore", "vm-1", str(place.base / "out.img"))
    try:
        while not list(place.base.glob(".out.img*")) and restoring.poll() is None:
            pass
        os.kill(restoring.pid, 19)  # SIGSTOP: it stays in the middle of its work
        done = place.run("rm", "vm-1")
        assert done.code == 6, done.err
        assert "restore" in done.err
        assert str(restoring.pid) in done.err
    finally:
        os.kill(restoring.pid, 18)
        _, err = restoring.communicate(timeout=60)
    assert restoring.returncode == 0, err
    assert place.run("rm", "vm-1").code == 0
