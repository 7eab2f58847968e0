"""The command as a process of its own, and a second opinion on a repository that shares no code with the product."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

COMMAND = [sys.executable, "-c", "from backy_core.cli.main import main; main()"]


def fsck(store: Path, database: Path, *, clean: bool = False) -> list[str]:
    """What is wrong with a repository that nobody is working on; with `clean`, also what a cleanup should have taken.

    Reads the database with plain SQL and the store with plain listings.
    """
    wrong: list[str] = []
    with closing(sqlite3.connect(database)) as db:
        wrong += [f"integrity: {row[0]}" for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
        wrong += [f"foreign key: {row}" for row in db.execute("PRAGMA foreign_key_check")]
        chunks = {
            f"c/{d.hex()[:2]}/{d.hex()}-{n.hex()}": (i, s)
            for i, d, n, s in db.execute("SELECT id, digest, nonce, stored_size FROM chunks")
        }
        used = {row[0] for row in db.execute("SELECT DISTINCT chunk FROM map WHERE chunk IS NOT NULL")}
        queued = {row[0] for row in db.execute("SELECT chunk FROM cleanup_queue")}
        uploads = {f"c/{d.hex()[:2]}/{d.hex()}-{n.hex()}" for d, n in db.execute("SELECT digest, nonce FROM uploads")}
        doomed = {row[0] for row in db.execute("SELECT key FROM doomed")}
        generation = db.execute("SELECT generation FROM repository").fetchone()[0]
        leftovers = {
            table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("sessions", "pins", "uploads", "doomed", "cleanup_queue")
        }
        removing = db.execute("SELECT count(*) FROM versions WHERE state = 'removing'").fetchone()[0]
    objects = {str(path.relative_to(store)): path.stat().st_size for path in store.rglob("*") if path.is_file()}
    there = {key for key in objects if key.startswith("c/")}
    wrong += [f"chunk without object: {key}" for key in chunks.keys() - there]
    wrong += [f"object of wrong size: {key}" for key, (_, size) in chunks.items() if objects.get(key, size) != size]
    wrong += [
        f"chunk that nobody uses and nobody will clean up: {key}"
        for key, (id_, _) in chunks.items()
        if id_ not in used | queued
    ]
    wrong += [f"doomed key is a chunk: {key}" for key in doomed & chunks.keys()]
    wrong += [f"object that nobody knows: {key}" for key in there - chunks.keys() - uploads - doomed]
    newest = max((int(key.removeprefix("gens/")) for key in objects if key.startswith("gens/")), default=0)
    if newest > generation:
        wrong.append(f"store generation {newest} above the database's {generation}")
    if clean:
        wrong += [f"orphan after cleanup: {key}" for key in there - chunks.keys()]
        wrong += [f"{count} rows left in {table}" for table, count in leftovers.items() if count]
        wrong += [f"{removing} versions still being removed"] if removing else []
        wrong += [f"chunk kept though nobody uses it: {key}" for key, (id_, _) in chunks.items() if id_ not in used]
        known = ("c/", "gens/", "config", "reserve")
        wrong += [f"stray file: {key}" for key in objects if not key.startswith(known)]
    return wrong


@pytest.fixture
def place(tmp_path: Path) -> SimpleNamespace:
    """An initialised repository below `tmp_path`, and ways to run `backy` on it in processes of their own."""
    base = tmp_path / "a place"
    base.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "BACKY_"))}
    environment |= {"HOME": str(base), "BACKY_REPOSITORY": str(base / "test.toml")}

    def start(*arguments: str, **how: object) -> subprocess.Popen[str]:
        return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
            [*COMMAND, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **how,
        )

    def run(*arguments: str) -> SimpleNamespace:
        process = start(*arguments)
        out, err = process.communicate(timeout=300)
        return SimpleNamespace(code=process.returncode, out=out, err=err)

    def init(*arguments: str, store: Path = base / "store", database: Path = base / "metadata.sqlite") -> None:
        done = run("init", "--store", str(store), "--metadata", f"sqlite://{database}", *arguments)
        assert done.code == 0, done.err

    def check(*, clean: bool = False, store: Path = base / "store", database: Path = base / "metadata.sqlite") -> None:
        assert fsck(store, database, clean=clean) == []

    found: Callable[..., object] = fsck
    return SimpleNamespace(
        base=base, environment=environment, command=COMMAND, start=start, run=run, init=init, check=check, fsck=found
    )
