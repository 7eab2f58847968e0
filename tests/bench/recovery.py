"""Measures what a lost database costs: a version of many TiB is made anew from its description, and checked.

    .venv/bin/python tests/bench/recovery.py [TEBIBYTES]

The manifest and the segments are real objects in a real directory; the chunks are only listed, for making a database
reads none of them. Prints a row of a Markdown table.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from backy_core.builtin.posix import PosixStore
from backy_core.contracts.store import ObjectInfo
from backy_core.model import BackupStatistics, Segment, SegmentPiece, Version, VersionState, manifest_key, piece_key
from backy_core.objects.manifest import manifest_content
from backy_core.objects.segment import Entry, cut
from backy_core.recovery import rebuild_repository
from backy_core.reports import ignore_progress
from backy_core.repository import Repository
from backy_core.takeover import Takeover

BLOCK = 4 * 1024 * 1024
NONCE = bytes(8)
CHANGED = 2621
"""Blocks that each of the later segments has: a thousandth of 10 TiB."""


def digest(index: int, birth: int) -> bytes:
    """A made-up chunk's."""
    return hashlib.sha256(f"{index} {birth}".encode()).digest()


def segments_of(count: int) -> Iterator[list[Entry]]:
    """One segment with every block, and a chain of four more as many incrementals leave behind."""
    yield [(index, digest(index, 0)) for index in range(count)]
    for birth, blocks in enumerate((CHANGED * 16, CHANGED * 8, CHANGED * 4, CHANGED), 1):
        step = max(1, count // blocks)
        yield [(index, digest(index, birth)) for index in range(birth % step, count, step)][:blocks]


def chunk_names(count: int) -> Iterator[ObjectInfo]:
    """The listing of all chunks."""
    for entries in segments_of(count):
        for _, name in entries:
            assert name is not None
            yield ObjectInfo(f"c/{name.hex()[:2]}/{name.hex()}-{NONCE.hex()}", BLOCK // 2)


def describe(repository: Repository, size: int) -> str:
    """Put the segments and the manifest of a version of that size."""
    engine = repository.engine
    listed: list[Segment] = []
    for birth, entries in enumerate(segments_of(size // BLOCK)):
        pieces = []
        for piece in cut(entries):
            name = engine.hash.digest(piece.content)
            key = piece_key(name, NONCE)
            parts = engine.envelope.wrap(key, piece.content)
            engine.store.put(key, parts)
            pieces.append(SegmentPiece(name, NONCE, sum(map(len, parts)), piece.first))
        listed.append(Segment(0 if birth == 0 else 1, birth, len(entries), tuple(pieces)))
    now = datetime.now(UTC)
    version = Version("0123456789abcdef", "vm", VersionState.VALID, size, BLOCK, 1, 5, now, now)
    version = replace(version, statistics=BackupStatistics())
    content = manifest_content(version, listed, None)
    engine.store.put(manifest_key(version.uid), engine.envelope.wrap(manifest_key(version.uid), content))
    engine.store.sync()
    return version.uid


def main() -> None:
    """Measure and print."""
    tebibytes = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    size = int(tebibytes * 2**40)
    listing = PosixStore.list

    def listed(store: PosixStore, prefix: str = "") -> Iterator[ObjectInfo]:
        return chunk_names(size // BLOCK) if prefix == "c/" else listing(store, prefix)

    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"HOME": folder, "XDG_CONFIG_HOME": folder, "XDG_DATA_HOME": folder}
        name, database = f"{folder}/r.toml", Path(f"{folder}/m.sqlite")
        with Repository.create(name, store=f"{folder}/store", metadata=f"sqlite://{database}") as repository:
            uid = describe(repository, size)
        for path in Path(folder).glob("m.sqlite*"):
            if path.is_file():
                path.unlink()
        took: dict[str, float] = {}
        versions = Takeover.versions

        def timed(self: Takeover, *how: object) -> None:
            started = time.monotonic()
            versions(self, *how)  # type: ignore[arg-type]
            took["map"] = time.monotonic() - started

        with patch.object(PosixStore, "list", listed), patch.object(Takeover, "versions", timed):
            report = rebuild_repository(
                name, store=None, metadata=None, dooms_orphans=False, ask=None, progress=ignore_progress
            )
        assert [version.uid for version in report.versions] == [uid]
        assert report.versions[0].state is VersionState.VALID
        used = database.stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print("| volume | blocks | seconds | of it the map | objects read | MiB read | database MiB | peak RSS MiB |")
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| {tebibytes:g} TiB | {size // BLOCK} | {report.duration_seconds:.0f} | {took['map']:.0f}"
        f" | {report.read_objects} | {report.read_bytes / 2**20:.0f} | {used / 2**20:.0f} | {peak} |"
    )


if __name__ == "__main__":
    main()
