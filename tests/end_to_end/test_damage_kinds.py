"""Damage of every kind of object, in a plain and in an encrypted repository: all of it is found by whoever reads it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from backy_core.chunks import ChunkDamaged
from backy_core.encryption.slots import parse_slot
from backy_core.errors import BackyError, KeyRefused, ObjectCorrupt, RepositoryError
from backy_core.model import Chunk
from backy_core.objects.envelope import Envelope
from backy_core.objects.identity import read_config, read_generation
from backy_core.recovery import rebuild_repository, restore_from_store
from backy_core.reports import RebuildReport, ignore_progress
from backy_core.repository import Repository
from backy_core.stored import ObjectDamaged, StoredVersions

BLOCK = 4096
PASSPHRASE = "a passphrase of the tests"
FLIPS = int(os.environ.get("BACKY_FLIPS", "1000"))
"""Bytes changed, one at a time, in the payload of each kind of object; the header's are changed one and all."""

FINDINGS = (ObjectCorrupt, ObjectDamaged, ChunkDamaged, KeyRefused, RepositoryError)
KINDS = ["config", "keys", "gens", "c", "m", "v", "a"]


class Place:
    """A repository with three versions of three volumes, all different, and attributes set twice on each."""

    def __init__(self, tmp_path: Path, sealed: bool) -> None:
        self.base = tmp_path
        self.store = tmp_path / "store"
        self.name = str(tmp_path / "repository.toml")
        self.sealed = sealed
        self.secret = PASSPHRASE if sealed else None
        how = {"passphrase": PASSPHRASE, "kdf_memory": 64 * 1024 * 1024} if sealed else {}
        Repository.create(
            self.name,
            store=str(self.store),
            metadata=f"sqlite://{tmp_path / 'db' / 'metadata.sqlite'}",
            block_size=BLOCK,
            **how,  # type: ignore[arg-type]
        ).close()
        self.contents: dict[str, bytes] = {}
        self.spare = ""
        """A key slot that the passphrase of the tests does not open."""
        with self.open() as repository:
            for number in range(3):
                # Half of it compresses.
                content = os.urandom(2 * BLOCK) + f"words, and more words {number} ".encode() * 700
                image = tmp_path / f"vm-{number}.img"
                image.write_bytes(content)
                uid = repository.backup(str(image), f"vm-{number}").version.uid
                self.contents[uid] = content
                repository.tag([uid], add=["one"])
                repository.tag([uid], add=["two"])
            if sealed:
                self.spare = repository.keys.add_passphrase("another passphrase", memory=64 * 1024 * 1024)

    def open(self) -> Repository:
        return Repository.open(self.name, passphrase=self.secret)

    def keys(self, kind: str) -> list[str]:
        """The objects of a kind, in the order of their names."""
        found = (str(path.relative_to(self.store)) for path in self.store.rglob("*") if path.is_file())
        return sorted(key for key in found if key.partition("/")[0] == kind)

    def restores(self, repository: Repository, but: str = "") -> None:
        for uid, content in self.contents.items():
            if uid == but:
                continue
            target = self.base / "out.img"
            target.unlink(missing_ok=True)
            assert not repository.restore(uid, str(target)).damage
            assert target.read_bytes() == content

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command in a process of its own."""
        environment = {**os.environ, "BACKY_REPOSITORY": self.name, "BACKY_PASSPHRASE": PASSPHRASE}
        return subprocess.run(
            [sys.executable, "-c", "from backy_core.cli.main import main; main()", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


class Readers:
    """Reads an object the way that its kind is read, and raises what is wrong with it."""

    def __init__(self, repository: Repository) -> None:
        self.engine = repository.engine
        self.chunks: dict[str, tuple[Chunk, int]] = {}
        for version in repository.versions():
            for index, block in repository.meta.view(version, range(version.block_count)).items():
                if block.chunk is not None:
                    self.chunks[block.chunk.key] = (block.chunk, version.block_length(index))
        self.reader = self.engine.reader()
        self.stored = StoredVersions(self.engine.store, self.engine.hash, self.engine.envelope)

    def read(self, key: str) -> object:
        store, repository_id = self.engine.store, self.engine.facts.repository_id
        kind, _, name = key.partition("/")
        if kind == "config":
            found = read_config(store)
            if found != self.engine.facts:
                raise RepositoryError("it is not what the database knows")
            return found
        if kind == "keys":
            return parse_slot(store.get(key), name, repository_id)
        if kind == "gens":
            return read_generation(store, int(name), repository_id)
        if kind == "c":
            return self.reader.read(*self.chunks[key], thorough=True)
        if kind == "m":
            digest, nonce = name.split("-")
            return self.stored.piece(bytes.fromhex(digest), bytes.fromhex(nonce))
        if kind == "v":
            return self.stored.manifest(name)
        uid, serial = name.split(".")
        return self.stored.attributes(uid, int(serial))


@pytest.fixture(params=["plain", "encrypted"])
def there(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Place:
    """The repository, in both kinds."""
    return Place(tmp_path, request.param == "encrypted")


def header_length(key: str, sealed: bool) -> int:
    if key.partition("/")[0] in ("config", "keys", "gens"):
        return 0  # text: every byte of it is changed
    return 80 if sealed else 32


def test_every_changed_byte_of_every_kind_is_found(there: Place) -> None:
    rng = random.Random(1)
    flips = 0
    with there.open() as repository:
        readers = Readers(repository)
        for kind in KINDS:
            keys = there.keys(kind)
            if kind == "keys" and not there.sealed:
                assert keys == []
                continue
            for key in keys:
                readers.read(key)
            for number, key in enumerate(keys):
                path = there.store / key
                whole = path.read_bytes()
                head = header_length(key, there.sealed)
                share = -(-FLIPS // len(keys))
                rest = range(head, len(whole))
                places = rng.sample(rest, min(len(rest), share))
                # The header of one object of each kind; an object's payload in all.
                for place in [*range(head if number == 0 else 0), *places]:
                    changed = bytearray(whole)
                    changed[place] ^= rng.randrange(1, 256)
                    path.write_bytes(changed)
                    with pytest.raises(FINDINGS):
                        readers.read(key)
                    flips += 1
                path.write_bytes(whole)
                readers.read(key)
        there.restores(repository)
    print(f"{flips} flips")  # noqa: T201 - shown with -s: the figures of this run


def variants(there: Place, key: str, other: str, envelope: Envelope, rng: random.Random) -> dict[str, bytes]:
    """What may lie under this key that does not belong there, made of it and of another object of its kind."""
    mine, theirs = (there.store / key).read_bytes(), (there.store / other).read_bytes()
    head = header_length(key, there.sealed) or len(mine) // 3
    found = {
        "another object": theirs,
        "my head, another's body": mine[:head] + theirs[head:],
        "another's head, my body": theirs[:head] + mine[head:],
        "one byte more": mine + b"\0",
        "twice": mine + mine,
    }
    for length in {0, 1, 15, 16, 31, head, len(mine) // 2, len(mine) - 1, rng.randrange(len(mine))}:
        found[f"cut off at {length}"] = mine[:length]
    if there.sealed:
        found["a step less"] = mine[: -32 * 1024]
    if key.partition("/")[0] in ("c", "m", "v", "a"):
        kind = "plain" if there.sealed else "of another codec"
        made = b"".join(envelope.wrap(key, b"content that somebody else has put here" * 9))
        found[f"something {kind}"] = made
        found["of another kind"] = b"".join(envelope.wrap("xcvma"["xcvma".index(key[0]) - 1] + key[1:], b"x" * 99))
    return found


def test_what_does_not_belong_there_is_refused_by_the_reader_of_its_kind(there: Place) -> None:
    rng = random.Random(2)
    cases = 0
    with there.open() as repository:
        readers = Readers(repository)
        # Its own hash and no seal: what somebody can make who has no key.
        envelope = Envelope(repository.engine.hash, 1)
        for kind in KINDS[1:]:
            keys = there.keys(kind)
            for key, other in pairwise(keys):
                path = there.store / key
                whole = path.read_bytes()
                for what, data in variants(there, key, other, envelope, rng).items():
                    if data == whole:
                        continue
                    path.write_bytes(data)
                    with pytest.raises(FINDINGS):
                        print(what, readers.read(key))  # noqa: T201 - shown when it is not refused
                    cases += 1
                path.write_bytes(whole)
                readers.read(key)
        if there.sealed:
            # The very content, plain: what is not sealed is not taken, however right it is.
            for kind in ("c", "m", "v", "a"):
                path = there.store / there.keys(kind)[0]
                whole, key = path.read_bytes(), there.keys(kind)[0]
                content = repository.engine.envelope.unwrap(key, whole, 1 << 24)
                path.write_bytes(b"".join(envelope.wrap(key, content)))
                with pytest.raises(FINDINGS, match="not sealed"):
                    readers.read(key)
                path.write_bytes(whole)
        # The attributes of before, under the name of now.
        uid = next(iter(there.contents))
        repository.tag([uid], add=["three"])
        old, new = f"a/{uid}.2", f"a/{uid}.3"
        whole = (there.store / new).read_bytes()
        (there.store / new).write_bytes((there.store / old).read_bytes())
        with pytest.raises(FINDINGS):
            readers.read(new)
        (there.store / new).write_bytes(whole)
        there.restores(repository)
    assert cases > 100
    print(f"{cases} cases")  # noqa: T201 - shown with -s: the figures of this run


def test_a_scrub_by_command_names_damage_of_every_kind_and_other_versions_are_well(there: Place) -> None:
    mine = next(iter(there.contents))
    for kind in KINDS:
        if kind == "keys" and not there.sealed:
            continue
        with there.open() as repository:
            version = repository.resolve(mine)
            block = repository.meta.view(version, [0])[0]
            assert block.chunk is not None
            key = {
                "c": block.chunk.key,
                "m": repository.meta.segments(version)[0].pieces[0].key,
                "v": f"v/{mine}",
                "a": f"a/{mine}.2",
                "keys": f"keys/{there.spare}",
            }.get(kind) or there.keys(kind)[-1]
        path = there.store / key
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[len(whole) // 2] ^= 8
        path.write_bytes(changed)
        done = there.command("scrub")
        assert "Traceback" not in done.stderr
        if kind == "config":
            assert (done.returncode, "config" in done.stderr) == (9, True), done.stderr
        else:
            assert done.returncode == 20, (kind, done.stderr)
            assert key in done.stdout
            with there.open() as repository:
                there.restores(repository, but=mine if kind == "c" else "")
        path.write_bytes(whole)
        done = there.command("scrub")
        assert done.returncode == 0, (kind, done.stdout, done.stderr)


def from_store(there: Place, uid: str) -> bytes:
    target = there.base / "from-store.img"
    target.unlink(missing_ok=True)
    report = restore_from_store(
        there.name,
        uid,
        str(target),
        store=None,
        force=False,
        ask=lambda _: there.secret,
        progress=ignore_progress,
    )
    assert not report.damage
    return target.read_bytes()


def test_without_a_database_just_what_is_lost_is_told_and_all_else_is_there(there: Place) -> None:
    first, second, third = there.contents
    with there.open() as repository:
        piece = repository.meta.segments(repository.resolve(second))[0].pieces[0].key
    lost = {first: f"v/{first}", second: piece}
    for key in (*lost.values(), f"a/{third}.2"):
        path = there.store / key
        changed = bytearray(path.read_bytes())
        changed[-1] ^= 1
        path.write_bytes(changed)
    for uid, key in lost.items():
        with pytest.raises(BackyError, match=key):
            from_store(there, uid)
    assert from_store(there, third) == there.contents[third]
    for path in (there.base / "db").iterdir():
        if path.is_file():
            path.unlink()
    report: RebuildReport = rebuild_repository(
        there.name,
        store=None,
        metadata=None,
        dooms_orphans=False,
        ask=lambda _: there.secret,
        progress=ignore_progress,
    )
    assert {damage.version_uid: damage.key for damage in report.lost} == lost
    assert [damage.key for damage in report.doubted] == [f"a/{third}.2"]
    assert report.missing_chunks == 0
    with there.open() as repository:
        [version] = repository.versions()
        assert version.uid == third
        assert version.attributes.tags == ("one",), "the ones before, which could be read"
        target = there.base / "out.img"
        assert not repository.restore(third, str(target)).damage
        assert target.read_bytes() == there.contents[third]
        # Set again, they get a name that was never used.
        repository.tag([third], add=["again"])
        assert f"a/{third}.3" in there.keys("a")
        repository.cleanup()
        assert repository.check_database().versions == 1


def test_a_damaged_segment_is_written_anew_in_full_by_the_next_backup(there: Place) -> None:
    uid = next(iter(there.contents))
    with there.open() as repository:
        [segment] = repository.meta.segments(repository.resolve(uid))
        path = there.store / segment.pieces[0].key
        changed = bytearray(path.read_bytes())
        changed[-1] ^= 1
        path.write_bytes(changed)
        again = repository.backup(str(there.base / "vm-0.img"), "vm-0").version
        assert repository.meta.segments(again) == [segment], "nobody knows yet"
        report = repository.scrub()
        assert {damage.key for damage in report.damage} == {segment.pieces[0].key}
        assert report.damaged_descriptions == 1
        fresh = repository.backup(str(there.base / "vm-0.img"), "vm-0").version
        [anew] = repository.meta.segments(fresh)
        assert (anew.lineage, anew.entries) == (0, fresh.block_count)
        assert anew.pieces[0].key != segment.pieces[0].key
        there.contents[fresh.uid] = there.contents[uid]
        there.restores(repository)
    # Its digest is that of the damaged piece: by that, the older versions are described again, too.
    for version in (fresh.uid, uid):
        assert from_store(there, version) == there.contents[uid]
