"""What the child processes of the tests do: `python workload.py COMMAND URL [NUMBER]`."""

from __future__ import annotations

import json
import os
import random
import sys
from datetime import UTC, datetime
from hashlib import sha256

from backy_meta_sql import SqlSettings, open_meta

from backy_core.contracts.meta import MetaStore, NewChunk
from backy_core.errors import InternalError, InvalidInput, NotFound, SessionFenced, VersionBusy
from backy_core.model import VersionState
from backy_core.testing.meta_steps import add_segment, finish

BLOCK = 4096


def say(word: object) -> None:
    print(word, flush=True)  # noqa: T201


def backup(meta: MetaStore, volume: str, rounds: int, source: random.Random) -> None:
    session = meta.open_session("backup")
    writing = meta.begin_version(
        session,
        volume=volume,
        size=500 * BLOCK,
        block_size=BLOCK,
        source="x",
        identity=None,
        base_uid=None,
        created=datetime.now(UTC),
    )
    for _ in range(rounds):
        indexes = source.sample(range(500), 64)
        blocks = [(index, sha256(str(source.randrange(300)).encode()).digest()) for index in indexes]
        missing = meta.plan(session, writing.version, blocks)
        chunks = [NewChunk(digest, nonce, 10) for digest, nonce in missing.items()]
        meta.publish(session, writing.version, chunks, [b for b in blocks if b[1] in missing])
    # As a run does: promises of runs that were killed first, then its own.
    for found in meta.promises():
        meta.finish_version(session, found.version)
    base = writing.base
    meta.link_segments(session, writing.version, meta.segments(base)[-2:] if base is not None else [])
    add_segment(meta, session, writing.version, writing.version.uid)
    finish(meta, session, writing.version)
    meta.close_session(session)


def take_back(meta: MetaStore, session: int, source: random.Random) -> None:
    """Remove a version and take it over again, as if the store still had it."""
    finished = [v for v in meta.versions() if v.state is VersionState.VALID]
    version = source.choice(finished)
    rows, segments = list(meta.entries(version, None)), meta.segments(version)
    meta.remove_version(session, version.uid)
    while not meta.purge(session, version.uid, 50).done:
        pass
    placed = meta.place_version(session, version)
    for start in range(0, len(rows), 100):
        meta.take_rows(session, placed, rows[start : start + 100])
    meta.take_version(session, placed, segments, 0)


def churn(meta: MetaStore, number: int) -> None:
    """Back up, remove and clean up without end, until killed."""
    source = random.Random(number)
    say("ready")
    while True:
        try:
            backup(meta, source.choice(["a", "b"]), 2, source)
            say("backed up")
            session = meta.open_session("rm")
            finished = [v for v in meta.versions() if v.state is VersionState.VALID]
            if len(finished) > 3:
                uid = source.choice(finished).uid
                meta.remove_version(session, uid)
            for version in meta.versions():
                while version.state is VersionState.REMOVING and not meta.purge(session, version.uid, 20).done:
                    pass
            if finished and source.random() < 0.5:
                take_back(meta, session, source)
            meta.next_generation(session)
            while meta.doom_chunks(session, 50).examined:
                pass
            meta.forget_doomed(session, meta.doomed_keys(meta.generation()))
            meta.close_session(session)
        except (VersionBusy, InvalidInput, NotFound, InternalError):
            # The other one was faster: it holds, removes, or takes over the version that was chosen.
            meta.close_session(session)


def writers(meta: MetaStore, number: int) -> None:
    """A fixed amount of writing; prints the counters."""
    say("ready")
    sys.stdin.readline()
    for turn in range(3):
        backup(meta, f"vm-{number}-{turn}", 20, random.Random(number * 10 + turn))
    counters = meta.counters
    say(json.dumps([counters.transactions, counters.longest_wait, counters.longest_held]))


def zombie(meta: MetaStore, _: int) -> None:
    """Plan, stop, and try to publish after waking up."""
    session = meta.open_session("backup")
    writing = meta.begin_version(
        session,
        volume="zombie",
        size=BLOCK,
        block_size=BLOCK,
        source="x",
        identity=None,
        base_uid=None,
        created=datetime.now(UTC),
    )
    digest = b"z" * 32
    nonce = meta.plan(session, writing.version, [(0, digest)])[digest]
    say(f"{session} {os.getpid()}")
    sys.stdin.readline()
    try:
        meta.publish(session, writing.version, [NewChunk(digest, nonce, 1)], [(0, digest)])
    except SessionFenced as error:
        say(f"fenced: {error}")
    else:
        say("published")


if __name__ == "__main__":
    command, url, number = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0
    opened = open_meta(url, SqlSettings(), False)
    assert opened is not None
    with opened:
        {"churn": churn, "writers": writers, "zombie": zombie}[command](opened, number)
