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
from backy_core.model import RepositoryFacts, Segment, SegmentPiece, Version, VersionState, block_count, chunk_key
from backy_core.testing.meta_steps import add_segment, finish, promise

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
    promised: dict[str, dict[int, int]] = field(default_factory=dict)
    removed: dict[str, Described] = field(default_factory=dict)
    """What the store said of versions that were removed, until they are taken back."""
    segments: dict[str, list[Segment]] = field(default_factory=dict)


@dataclass(frozen=True)
class Described:
    """All that a store says of a version, and what the version must show."""

    version: Version
    rows: list[tuple[int, bytes | None]]
    segments: list[Segment]
    blocks: dict[int, int]


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
            (self.leave_promised, 1),
            (self.keep_promises, 1),
            (self.interrupt, 2),
            (self.remove, 5),
            (self.purge_some, 6),
            (self.cleanup, 2),
            (self.take_back, 2),
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
        self.publish_segment(run)
        finished = finish(self.meta, run.session, run.writing.version)
        assert finished.state is VersionState.VALID
        self.oracle.views[finished.uid] = run.blocks
        self.meta.close_session(run.session)
        self.runs.remove(run)
        return True

    def publish_segment(self, run: Run) -> None:
        version, base = run.writing.version, run.writing.base
        linked = self.meta.segments(base)[-3:] if base is not None else []
        self.meta.link_segments(run.session, version, linked)
        if self.random.random() < 0.7:
            linked.append(add_segment(self.meta, run.session, version, version.uid))
        self.oracle.segments[version.uid] = linked

    def leave_promised(self) -> bool:
        run = self.some_run()
        if run is None:
            return False
        self.publish_segment(run)
        promise(self.meta, run.session, run.writing.version)
        self.meta.close_session(run.session)
        self.oracle.promised[run.writing.version.uid] = run.blocks
        self.runs.remove(run)
        return True

    def keep_promises(self) -> bool:
        promises = self.meta.promises()
        assert {found.version.uid for found in promises} == set(self.oracle.promised)
        for found in promises:
            finished = self.meta.finish_version(self.service, found.version)
            assert finished.state is VersionState.VALID
            self.oracle.views[finished.uid] = self.oracle.promised.pop(finished.uid)
        return bool(promises)

    def described(self, version: Version) -> Described:
        rows = list(self.meta.entries(version, None))
        return Described(version, rows, self.meta.segments(version), self.oracle.views[version.uid])

    def take_back(self) -> bool:
        """Take over some versions that were removed, from what the store had said of them, beside whatever runs."""
        there = {v.uid for v in self.meta.versions()}
        gone = [uid for uid in self.oracle.removed if uid not in there]
        taken = self.random.sample(gone, min(len(gone), self.random.choice([1, 2])))
        for uid in taken:
            self.take(self.oracle.removed.pop(uid))
        return bool(taken)

    def take(self, described: Described) -> None:
        placed = self.meta.place_version(self.service, described.version)
        for start in range(0, len(described.rows), 5):
            if self.random.random() < 0.1:
                # The run is killed here, and the next one begins again.
                return self.take(described)
            self.meta.take_rows(self.service, placed, described.rows[start : start + 5])
        taken = self.meta.take_version(self.service, placed, described.segments, 0)
        self.counts["replaced" if taken.lineage != described.version.lineage else "taken where it was"] += 1
        chunks = [
            NewChunk(chunk.digest, self.random.randbytes(8), 10)
            for chunk in self.meta.chunks(0)
            if chunk.nonce == bytes(8)
        ]
        assert len(self.meta.take_found(self.service, chunks).known) == len(chunks)
        self.oracle.views[taken.uid] = described.blocks
        self.oracle.segments[taken.uid] = described.segments

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
            if version.uid in self.oracle.views:
                self.oracle.removed[version.uid] = self.described(version)
            self.meta.remove_version(self.service, version.uid)
            self.oracle.segments.pop(version.uid, None)
            self.oracle.promised.pop(version.uid, None)
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
        self.keep_promises()
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
        for uid, blocks in (expected | self.oracle.unfinished | self.oracle.promised).items():
            version = shown[uid]
            seen = self.meta.view(version, range(block_count(version.size, BLOCK) + 3))
            content = {i: int.from_bytes(b.chunk.digest, "big") for i, b in seen.items() if b.chunk is not None}
            assert content == blocks, f"{uid} shows {content}, not {blocks}"
            assert set(self.meta.own_indexes(version)) == {i for i, b in seen.items() if b.own}
            assert [s.pieces for s in self.meta.segments(version)] == [
                s.pieces for s in self.oracle.segments.get(uid, [])
            ]
        self.check_entries([shown[uid] for uid in expected | self.oracle.promised])

    def check_entries(self, versions: list[Version]) -> None:
        """All entries, and those since every birth of every lineage in the chain, against the rows themselves."""
        direct = sqlite3.connect(self.path)
        try:
            lineages = direct.execute("SELECT id, parent, parent_birth FROM lineages")
            parents = {number: (parent, birth) for number, parent, birth in lineages}
            rows = direct.execute(
                "SELECT m.lineage, m.idx, m.birth, c.digest FROM map m LEFT JOIN chunks c ON c.id = m.chunk"
            ).fetchall()
        finally:
            direct.close()
        for version in versions:
            chain: list[tuple[int, int]] = []
            lineage, bound = version.lineage, version.birth
            while lineage is not None:
                chain.append((lineage, bound))
                lineage, bound = parents[lineage]
            # From the oldest row of the oldest lineage to the youngest of the nearest: the last one said counts.
            seen = [
                (rank, birth, index, digest)
                for rank, (number, last) in enumerate(reversed(chain))
                for where, index, birth, digest in sorted(rows, key=lambda row: row[2])
                if where == number and birth <= last
            ]
            whole = {index: digest for _, _, index, digest in seen}
            assert list(self.meta.entries(version, None)) == sorted(whole.items(), key=lambda pair: pair[0])
            assert self.meta.count_entries(version, None) == len(seen)
            number, last = self.random.choice(chain)
            rank = len(chain) - 1 - [where for where, _ in chain].index(number)
            since = self.random.randint(0, last)
            young = [row for row in seen if row[:2] > (rank, since)]
            wanted = {index: whole[index] for _, _, index, _ in young}
            found = list(self.meta.entries(version, (number, since)))
            assert found == sorted(wanted.items(), key=lambda pair: pair[0])
            assert self.meta.count_entries(version, (number, since)) == len(young)
            if version.uid in self.oracle.views:
                blocks = self.oracle.views[version.uid]
                assert {i: int.from_bytes(d, "big") for i, d in whole.items() if d is not None} == blocks

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
            listed = "(SELECT segment FROM version_segments)"
            assert with_rows.execute(f"SELECT count(*) FROM segments WHERE id NOT IN {listed}").fetchone() == (0,)
            known = {SegmentPiece(d, n, 0, 0).key for d, n in with_rows.execute("SELECT digest, nonce FROM pieces")}
            known |= {chunk_key(d, n) for d, n in with_rows.execute("SELECT digest, nonce FROM chunks")}
            assert not known & {key for (key,) in with_rows.execute("SELECT key FROM doomed")}
            for table in ("cleanup_queue", "uploads", "pins", "promises", "placed"):
                left = with_rows.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert left == (0,), f"{table} is not empty"
            empty = (
                "SELECT id FROM lineages WHERE id NOT IN (SELECT lineage FROM versions) AND id NOT IN (SELECT parent"
            )
            assert with_rows.execute(f"{empty} FROM lineages WHERE parent IS NOT NULL)").fetchall() == []
        finally:
            with_rows.close()


def _open(path: Path) -> MetaStore:
    from backy_meta_sql import SqlSettings, open_meta

    meta = open_meta(f"sqlite://{path}", SqlSettings(), False)
    assert meta is not None
    return meta


def run_history(template: Path, source: random.Random, steps: int, counts: Counter[str]) -> None:
    """One history on a copy of an initialised database; adds up how often each step happened."""
    folder = Path(tempfile.mkdtemp(prefix="history "))
    try:
        shutil.copy(template, folder / "m.db")
        with _open(folder / "m.db") as meta:
            history = History(meta, folder / "m.db", source)
            history.go(steps)
            history.finish_everything()
            take_everything_over(history, template, folder, counts)
        counts.update(history.counts)
    finally:
        shutil.rmtree(folder)


def take_everything_over(history: History, template: Path, folder: Path, counts: Counter[str]) -> None:
    """Make a second database from what is said of the versions that are left, or of some of them, and go on there."""
    shutil.copy(template, folder / "second.db")
    again = _open(folder / "second.db")
    with again:
        second = History(again, folder / "second.db", history.random)
        left = [v for v in history.meta.versions() if history.random.random() < 0.8]
        for version in left:
            second.take(history.described(version))
        second.check_views()
        assert [v.uid for v in again.versions()] == [v.uid for v in left]
        second.go(12)
        second.finish_everything()
    counts["taken into another database"] += len(left)


def facts() -> RepositoryFacts:
    return RepositoryFacts("repository", 1, "blake3", BLOCK, NOW)


__all__ = ["BLOCK", "NOW", "History", "digest_of", "facts", "run_history"]
