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


_PASSING = ("sessions", "pins", "uploads", "doomed", "cleanup_queue", "fences", "promises", "placed")
"""Tables whose rows are all gone when nobody works on a repository and it was cleaned up."""


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
        pieces = {
            f"m/{d.hex()}-{n.hex()}": (i, s)
            for i, d, n, s in db.execute("SELECT segment, digest, nonce, stored_size FROM pieces")
        }
        used = {row[0] for row in db.execute("SELECT DISTINCT chunk FROM map WHERE chunk IS NOT NULL")}
        queued = {row[0] for row in db.execute("SELECT chunk FROM cleanup_queue")}
        listed = {row[0] for row in db.execute("SELECT DISTINCT segment FROM version_segments")}
        segments = {row[0] for row in db.execute("SELECT id FROM segments")}
        uploads = {
            f"c/{d.hex()[:2]}/{d.hex()}-{n.hex()}" if kind == "c" else f"{kind}/{d.hex()}-{n.hex()}"
            for d, n, kind in db.execute("SELECT digest, nonce, kind FROM uploads")
        }
        doomed = {row[0] for row in db.execute("SELECT key FROM doomed")}
        generation = db.execute("SELECT generation FROM repository").fetchone()[0]
        leftovers = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _PASSING}
        fences = {row[0] for row in db.execute("SELECT generation FROM fences")}
        versions = db.execute("SELECT uid, state, manifest IS NOT NULL, serial, stored_serial FROM versions").fetchall()
        promised = {row[0] for row in db.execute("SELECT v.uid FROM promises p JOIN versions v ON v.id = p.version")}
        behind = db.execute("SELECT behind FROM repository").fetchone()[0]
    objects = {str(path.relative_to(store)): path.stat().st_size for path in store.rglob("*") if path.is_file()}
    there = {key for key in objects if key[:2] in ("c/", "m/", "v/", "a/")}
    owned: dict[str, tuple[int, int]] = {**chunks, **pieces}
    wrong += [f"chunk or piece without object: {key}" for key in owned.keys() - there]
    wrong += [f"object of wrong size: {key}" for key, (_, size) in owned.items() if objects.get(key, size) != size]
    wrong += [
        f"chunk that nobody uses and nobody will clean up: {key}"
        for key, (id_, _) in chunks.items()
        if id_ not in used | queued
    ]
    wrong += [f"segment {id_} that no version lists" for id_ in segments - listed]
    manifests: set[str] = set()  # that must be there
    going: set[str] = set()  # that may be there
    for uid, state, described, serial, stored in versions:
        if state in ("valid", "invalid"):
            manifests |= {f"v/{uid}"} if described else set()
            # Set and not yet confirmed: may be there or not. Confirmed: is there.
            manifests |= {f"a/{uid}.{stored}"} if stored else set()
            going |= {f"a/{uid}.{number}" for number in range(stored + 1, serial + 1)}
        elif state == "removing" or uid in promised:
            going |= {f"v/{uid}", *(f"a/{uid}.{number}" for number in range(1, serial + 1))}
        if state == "writing" and described and uid not in promised:
            wrong.append(f"{uid} has a manifest that nobody will put")
    wrong += [
        f"{uid} is promised and not being written"
        for uid, state, *_ in versions
        if uid in promised and state != "writing"
    ]
    wrong += [f"description without object: {key}" for key in manifests - there]
    known = owned.keys() | manifests
    wrong += [f"doomed key is in use: {key}" for key in doomed & known]
    wrong += [f"upload is in use: {key}" for key in uploads & known]
    wrong += [f"object that nobody knows: {key}" for key in there - known - going - uploads - doomed]
    newest = max((int(key.removeprefix("gens/")) for key in objects if key.startswith("gens/")), default=0)
    if newest > generation:
        wrong.append(f"store generation {newest} above the database's {generation}")
    if generation and newest < generation and generation not in fences:
        wrong.append(f"generation {generation} was begun, and nobody will put its object")
    if clean:
        wrong += [f"orphan after cleanup: {key}" for key in there - known]
        wrong += [f"{uid} is still being removed" for uid, state, *_ in versions if state == "removing"]
        wrong += [
            f"attributes of {uid} were never stored" for uid, state, _, serial, stored in versions if serial != stored
        ]
        wrong += [f"chunk kept though nobody uses it: {key}" for key, (id_, _) in chunks.items() if id_ not in used]
        wrong += ["the database is half made right"] if behind else []
        places = ("c/", "m/", "v/", "a/", "gens/", "keys/", "config", "reserve")
        wrong += [f"stray file: {key}" for key in objects if not key.startswith(places)]
        wrong += [f"{count} rows left in {table}" for table, count in leftovers.items() if count]
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
