"""A plain model of volumes and versions, and a driver that runs one history against it and a metadata store at once."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from backy_core.contracts.meta import MetaStore, NewChunk, Writing
from backy_core.model import BackupStatistics, RepositoryFacts, Version, VersionState, block_count

BLOCK = 4096
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def digest_of(content: int) -> bytes:
    return content.to_bytes(32, "big")


@dataclass
class Run:
    """A backup under way: its session, and what its version must show."""

    session: int
    writing: Writing
    blocks: dict[int, int]
    size: int
    volume: str
    base: str | None


@dataclass
class Oracle:
    """What every finished version must show, by uid: index -> content; absent is a hole."""

    views: dict[str, dict[int, int]] = field(default_factory=dict)
    unfinished: dict[str, dict[int, int]] = field(default_factory=dict)


class History:
    """Random steps on a store and on the oracle. `source` decides everything but the uids."""

    def __init__(self, meta: MetaStore, path: Path, source: random.Random) -> None:
        self.meta = meta
        self.path = path
        self.random = source
        self.oracle = Oracle()
        self.runs: list[Run] = []
        self.counts: Counter[str] = Counter()
        self.service = meta.open_session("rm")

    def go(self, steps: int) -> None:
        choices = [
            (self.backup, 6),
            (self.start, 3),
            (self.write_some, 4),
            (self.end, 3),
            (self.interrupt, 2),
            (self.remove, 5),
            (self.purge_some, 6),
            (self.cleanup, 2),
        ]
        for _ in range(steps):
            step = self.random.choices([c for c, _ in choices], [w for _, w in choices])[0]
            if step():
                self.counts[step.__name__] += 1
        self.check_views()

    # -- steps: each returns whether it did something ----------------------------------------------------------

    def backup(self) -> bool:
        return self.start() and self.write_some(self.runs[-1]) and self.end(self.runs[-1])

    def start(self) -> bool:
        if len(self.runs) >= 3:
            return False
        volume = self.random.choice(["a", "a", "b"])
        size = self.random.choice([0, 1, 3, 7, 12, 12, 12, 20]) * BLOCK + self.random.choice([0, 0, 1])
        finished = self.finished()
        base_uid = None
        if finished and self.random.random() < 0.3:
            base_uid = self.random.choice(finished).uid
        interrupted = [v for v in self.meta.versions() if v.interrupted]
        if interrupted and self.random.random() < 0.5:
            # Ask for one that can be continued, where its base is still the one.
            old = self.random.choice(interrupted)
            volume, size = old.volume, old.size
            base_uid = old.base_uid if old.base_uid in {v.uid for v in finished} else None
        session = self.meta.open_session("backup")
        writing = self.meta.begin_version(
            session,
            volume=volume,
            size=size,
            block_size=BLOCK,
            source="x",
            identity=None,
            base_uid=base_uid,
            created=NOW,
        )
        base = writing.base
        expected = [v for v in finished if v.volume == volume]
        wanted = base_uid or (expected[-1].uid if expected else None)
        assert (base.uid if base else None) == wanted, "another base than promised"
        count = block_count(size, BLOCK)
        if writing.continued:
            blocks = self.oracle.unfinished.pop(writing.version.uid)
            self.counts["continued"] += 1
        else:
            inherited = self.oracle.views[base.uid] if base else {}
            blocks = {index: content for index, content in inherited.items() if index < count}
        if base is not None and writing.version.lineage != base.lineage:
            self.counts["branched"] += 1
        gone = {v.uid for v in self.meta.versions()}
        self.oracle.unfinished = {uid: b for uid, b in self.oracle.unfinished.items() if uid in gone}
        self.runs.append(Run(session, writing, blocks, size, volume, wanted))
        return True

    def write_some(self, run: Run | None = None) -> bool:
        run = run or self.some_run()
        if run is None:
            return False
        count = block_count(run.size, BLOCK)
        for _ in range(self.random.randint(0, 2)):
            indexes = self.random.sample(range(count), self.random.randint(0, min(count, 6)))
            content = {index: self.random.choice([None, *range(1, 9)]) for index in indexes}
            blocks = [(index, None if c is None else digest_of(c)) for index, c in content.items()]
            missing = self.meta.plan(run.session, run.writing.version, blocks)
            if self.random.random() < 0.1:
                # The run stops between plan and publish: what was known is mapped, the rest is not.
                content = {i: c for i, c in content.items() if c is None or digest_of(c) not in missing}
            else:
                chunks = [NewChunk(digest, nonce, 10) for digest, nonce in missing.items()]
                mapped = [(i, digest_of(c)) for i, c in content.items() if c is not None and digest_of(c) in missing]
                self.meta.publish(run.session, run.writing.version, chunks, mapped)
            for index, c in content.items():
                if c is None:
                    run.blocks.pop(index, None)
                else:
                    run.blocks[index] = c
        return True

    def end(self, run: Run | None = None) -> bool:
        run = run or self.some_run()
        if run is None:
            return False
        finished = self.meta.finish_version(run.session, run.writing.version, BackupStatistics())
        assert finished.state is VersionState.VALID
        self.oracle.views[finished.uid] = run.blocks
        self.meta.close_session(run.session)
        self.runs.remove(run)
        return True

    def interrupt(self) -> bool:
        run = self.some_run()
        if run is None:
            return False
        self.meta.close_session(run.session)
        self.oracle.unfinished[run.writing.version.uid] = run.blocks
        self.runs.remove(run)
        return True

    def remove(self) -> bool:
        held = {run.base for run in self.runs}
        candidates = [v for v in self.meta.versions() if v.uid not in held and (v in self.finished() or v.interrupted)]
        if not candidates:
            return False
        for version in self.random.sample(candidates, min(len(candidates), self.random.choice([1, 1, 2, 3]))):
            self.meta.remove_version(self.service, version.uid)
            self.oracle.views.pop(version.uid, None)
            self.oracle.unfinished.pop(version.uid, None)
        return True

    def purge_some(self) -> bool:
        removing = [v for v in self.meta.versions() if v.state is VersionState.REMOVING]
        if not removing:
            return False
        for _ in range(self.random.randint(1, 8)):
            # Neighbours in turn, a few rows each, left off anywhere.
            limit = self.random.choice([1, 2, 3, 100])
            step = self.meta.purge(self.service, self.random.choice(removing).uid, limit)
            assert step.rows <= limit
        return True

    def cleanup(self) -> bool:
        self.meta.doom_chunks(self.service, self.random.choice([1, 3, 100]))
        return True

    # -- what must hold ----------------------------------------------------------------------------------------

    def finish_everything(self) -> None:
        """End all runs, purge and clean up to the last, then look for anything that leaked."""
        while self.runs:
            self.end()
        for version in self.meta.versions():
            if version.interrupted:
                self.meta.remove_version(self.service, version.uid)
                self.oracle.unfinished.pop(version.uid, None)
        for version in self.meta.versions():
            if version.state is VersionState.REMOVING:
                while not self.meta.purge(self.service, version.uid, self.random.choice([1, 2, 100])).done:
                    pass
        while self.meta.doom_chunks(self.service).examined:
            pass
        self.check_views()
        self.check_no_leak()
        self.meta.close_session(self.service)

    def finished(self) -> list[Version]:
        return [v for v in self.meta.versions() if v.state is VersionState.VALID]

    def some_run(self) -> Run | None:
        return self.random.choice(self.runs) if self.runs else None

    def check_views(self) -> None:
        shown = {v.uid: v for v in self.meta.versions()}
        expected = self.oracle.views | {run.writing.version.uid: run.blocks for run in self.runs}
        for uid, blocks in (expected | self.oracle.unfinished).items():
            version = shown[uid]
            seen = self.meta.view(version, range(block_count(version.size, BLOCK) + 3))
            content = {i: int.from_bytes(b.chunk.digest, "big") for i, b in seen.items() if b.chunk is not None}
            assert content == blocks, f"{uid} shows {content}, not {blocks}"
            assert set(self.meta.own_indexes(version)) == {i for i, b in seen.items() if b.own}

    def check_no_leak(self) -> None:
        with_rows = sqlite3.connect(self.path)
        try:
            rows = with_rows.execute("SELECT lineage, idx, birth, chunk FROM map").fetchall()
            kept: dict[int, set[int]] = {}
            for query in (
                "SELECT lineage, birth FROM versions",
                "SELECT parent, parent_birth FROM lineages WHERE parent IS NOT NULL",
            ):
                for lineage, birth in with_rows.execute(query):
                    kept.setdefault(lineage, set()).add(birth)
            births: dict[tuple[int, int], list[int]] = {}
            for lineage, index, birth, _ in rows:
                births.setdefault((lineage, index), []).append(birth)
            for lineage, index, birth, _ in rows:
                later = [other for other in births[lineage, index] if other > birth]
                end = min(later, default=2**62)
                assert any(birth <= k < end for k in kept.get(lineage, ())), f"nobody sees {lineage, index, birth}"
            used = {chunk for *_, chunk in rows if chunk is not None}
            assert {n for (n,) in with_rows.execute("SELECT id FROM chunks")} == used
            for table in ("cleanup_queue", "uploads", "pins"):
                left = with_rows.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert left == (0,), f"{table} is not empty"
            empty = (
                "SELECT id FROM lineages WHERE id NOT IN (SELECT lineage FROM versions) AND id NOT IN (SELECT parent"
            )
            assert with_rows.execute(f"{empty} FROM lineages WHERE parent IS NOT NULL)").fetchall() == []
        finally:
            with_rows.close()


def run_history(template: Path, source: random.Random, steps: int, counts: Counter[str]) -> None:
    """One history on a copy of an initialised database; adds up how often each step happened."""
    from backy_meta_sql import SqlSettings, open_meta

    folder = Path(tempfile.mkdtemp(prefix="history "))
    try:
        shutil.copy(template, folder / "m.db")
        meta = open_meta(f"sqlite://{folder}/m.db", SqlSettings(), False)
        assert meta is not None
        with meta:
            history = History(meta, folder / "m.db", source)
            history.go(steps)
            history.finish_everything()
        counts.update(history.counts)
    finally:
        shutil.rmtree(folder)


def facts() -> RepositoryFacts:
    return RepositoryFacts("repository", 1, "blake3", BLOCK, NOW)


__all__ = ["BLOCK", "NOW", "History", "digest_of", "facts", "run_history"]
