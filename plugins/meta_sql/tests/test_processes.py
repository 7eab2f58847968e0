"""Real processes on one database: killed anywhere, frozen and fenced, and four of them writing at once."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import oracle
import pytest
from backy_meta_sql import SqlSettings, open_meta

from backy_core.contracts.meta import MetaStore
from backy_core.errors import MetaError
from backy_core.model import Version, VersionState

WORKLOAD = Path(__file__).with_name("workload.py")

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a child on the database of this test; all are gone when it ends."""
    children: list[subprocess.Popen[str]] = []

    def starting(command: str, number: int = 0) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, str(WORKLOAD), command, f"sqlite://{tmp_path}/m.db", str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield starting
    for child in children:
        child.kill()
        child.send_signal(signal.SIGCONT)
        child.communicate()


def opened(tmp_path: Path, create: bool = False, wait_seconds: float = 30) -> MetaStore:
    meta = open_meta(f"sqlite://{tmp_path}/m.db", SqlSettings(wait_seconds), create)
    assert meta is not None
    return meta


@pytest.fixture
def made(tmp_path: Path) -> Path:
    with opened(tmp_path, create=True) as meta:
        meta.initialise(oracle.facts())
    return tmp_path


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def tell(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def assert_sound(path: Path) -> None:
    """Nothing that nobody sees, once everything has been removed that was not finished."""
    with opened(path) as meta:
        meta.reap()
        assert meta.usage().uploads == 0
        history = oracle.History(meta, path / "m.db", random.Random(0))
        for found in meta.promises():
            meta.finish_version(history.service, found.version)
        give_up_places(meta, history.service, path / "m.db")
        history.finish_everything()
    direct = sqlite3.connect(path / "m.db")
    assert direct.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert direct.execute("PRAGMA foreign_key_check").fetchall() == []
    assert direct.execute("SELECT count(*) FROM sessions").fetchone() == (0,)
    direct.close()
    assert list((path / "m.db.sessions").iterdir()) == []


def give_up_places(meta: MetaStore, session: int, path: Path) -> None:
    """Take over, empty, what was placed by runs that were killed: so its rows are cleared away."""
    direct = sqlite3.connect(path)
    placed = direct.execute(
        "SELECT p.uid, l.volume, l.block_size, p.lineage, p.birth FROM placed p JOIN lineages l ON l.id = p.lineage"
    ).fetchall()
    direct.close()
    for uid, volume, block_size, lineage, birth in placed:
        if any(version.uid == uid for version in meta.versions()):
            continue
        version = Version(
            uid, volume, VersionState.VALID, 0, block_size, lineage, birth, oracle.NOW, oracle.NOW, manifest=b"m"
        )
        taken = meta.take_version(session, meta.place_version(session, version), [], 0)
        meta.remove_version(session, taken.uid)


def sweep(made: Path, start: Start, kills: int) -> int:
    source = random.Random(7)
    finished = 0
    for number in range(kills):
        children = [start("churn", number * 2 + which) for which in range(2)]
        for child in children:
            assert said(child) == "ready"
        # Some are killed in their first backup, some in a later one or in what comes between.
        for _ in range(number % 3):
            assert said(children[0]) == "backed up"
        time.sleep(source.uniform(0, 0.3))
        for child in children:
            child.kill()
            child.wait()
        with opened(made) as meta:
            reaped = meta.reap()
            assert reaped.sessions <= 2
            versions = meta.versions()
            assert not [v for v in versions if v.state is VersionState.WRITING and not v.interrupted]
            finished = max(finished, len([v for v in versions if v.state is VersionState.VALID]))
    assert_sound(made)
    return finished


def test_killed_processes_leave_nothing_that_the_next_one_does_not_repair(made: Path, start: Start) -> None:
    assert sweep(made, start, 6) > 0


@pytest.mark.slow
def test_a_hundred_killed_processes_leave_nothing_that_the_next_one_does_not_repair(made: Path, start: Start) -> None:
    assert sweep(made, start, 50) > 0


def test_a_frozen_writer_that_was_fenced_may_not_publish_when_it_wakes(made: Path, start: Start) -> None:
    child = start("zombie")
    session, pid = (int(word) for word in said(child).split())
    child.send_signal(signal.SIGSTOP)
    with opened(made) as meta:
        assert meta.reap().sessions == 0  # frozen is not dead
        assert pid == child.pid
        # Somebody takes it for dead all the same: the proof of its life is removed.
        (made / "m.db.sessions" / str(session)).unlink()
        reaped = meta.reap()
        assert (reaped.sessions, reaped.uploads) == (1, 1)
        child.send_signal(signal.SIGCONT)
        tell(child)
        assert said(child).startswith(f"fenced: this run (session {session}) was taken for dead")
        assert child.wait() == 0
        assert meta.chunk(b"z" * 32) is None
        assert len(meta.doomed_keys(meta.generation() + 1)) == 1
    assert_sound(made)


def test_a_frozen_writer_that_nobody_fenced_goes_on(made: Path, start: Start) -> None:
    child = start("zombie")
    said(child)
    child.send_signal(signal.SIGSTOP)
    with opened(made) as meta:
        meta.close_session(meta.open_session("ls"))
        child.send_signal(signal.SIGCONT)
        tell(child)
        assert said(child) == "published"


def test_four_writers_take_turns_and_the_longest_hold_is_recorded(
    made: Path, start: Start, request: pytest.FixtureRequest
) -> None:
    children = [start("writers", number) for number in range(4)]
    for child in children:
        assert said(child) == "ready"
    for child in children:
        tell(child)
    counters = [json.loads(said(child)) for child in children]
    for child in children:
        assert child.wait() == 0
    request.node.user_properties += [
        ("longest wait of a writer, seconds", max(wait for _, wait, _ in counters)),
        ("longest write transaction, seconds", max(held for _, _, held in counters)),
    ]
    assert all(transactions > 120 and held > 0 for transactions, _, held in counters)
    with opened(made) as meta:
        assert len([v for v in meta.versions() if v.state is VersionState.VALID]) == 12
    assert_sound(made)


def test_a_writer_stopped_in_its_turn_makes_the_others_give_up_in_time(made: Path) -> None:
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True);"
        "sys.stdin.readline()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, f"{made}/m.db.writer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert said(holder) == "held"
        with opened(made, wait_seconds=0.2) as meta:
            with pytest.raises(MetaError, match="another backy has held it") as caught:
                meta.open_session("backup")
            assert caught.value.again
            assert meta.versions() == []  # readers go on
            tell(holder)
            holder.wait()
            meta.close_session(meta.open_session("backup"))
    finally:
        holder.kill()
        holder.communicate()


def test_a_foreign_program_that_holds_the_database_is_named_as_such(made: Path) -> None:
    foreign = sqlite3.connect(made / "m.db", isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    with opened(made, wait_seconds=0.2) as meta:
        with pytest.raises(MetaError, match="locked by another program") as caught:
            meta.open_session("backup")
        assert caught.value.again
        foreign.execute("COMMIT")
        foreign.close()
        meta.close_session(meta.open_session("backup"))


def test_threads_of_one_process_write_at_once(made: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import workload

    with opened(made) as meta, ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(workload.backup, meta, f"t{n}", 5, random.Random(n)) for n in range(6)]
        for job in jobs:
            job.result()
        assert len([v for v in meta.versions() if v.state is VersionState.VALID]) == 6
    assert_sound(made)


def test_a_lock_file_without_a_session_is_cleared_up_and_a_held_one_is_not(made: Path) -> None:
    with opened(made) as meta, opened(made) as other:
        living = meta.open_session("backup")
        folder = made / "m.db.sessions"
        (folder / "4711").touch()
        assert other.reap().sessions == 0
        assert [file.name for file in folder.iterdir()] == [str(living)]
        # The row is gone, the process is not: it clears up after itself.
        direct = sqlite3.connect(made / "m.db")
        direct.execute("DELETE FROM sessions")
        direct.commit()
        direct.close()
        other.reap()
        assert [file.name for file in folder.iterdir()] == [str(living)]
        meta.close_session(living)
        assert list(folder.iterdir()) == []


def test_the_many_sessions_of_a_crashed_host_are_cleared_up_together(made: Path) -> None:
    direct = sqlite3.connect(made / "m.db")
    direct.executemany(
        "INSERT INTO sessions (command, host, pid, started) VALUES ('x', 'h', ?, '')", ((n,) for n in range(1000))
    )
    direct.commit()
    direct.close()
    with opened(made) as meta:
        before = meta.counters.transactions
        assert meta.reap().sessions == 1000
        assert meta.counters.transactions - before <= 9
