"""kill -9 after, and in the middle of, every single change that a command makes to the store or the database.

Between two changes nothing is different for whoever comes next, so these moments are all there are: every commit of a
transaction, and every name that appears in, or goes from, a directory. They are counted in a process of its own, which
kills itself at the n-th, n growing until the command comes through.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backy_core.errors import Guarded, NotFound, RepositoryError
from backy_core.recovery import rebuild_repository
from backy_core.reports import ignore_progress
from backy_core.repository import Repository

BLOCK = 4096
OLD, NEW = "an old passphrase", "a new passphrase"
MEMORY = 64 * 1024 * 1024
MOMENTS = ("inside", "after")
"""Inside a transaction, its work done and not committed; and after a change."""


class World:
    """A repository with a past, of which every state can be brought back, and what its versions must give back."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.kept = base.parent / "kept"
        self.expected: dict[str, bytes] = {}
        self.coming: dict[str, bytes] = {}
        """What versions of these volumes hold that are not among the expected ones."""
        self.victims: list[str] = []
        self.secret: str | None = None

    def open(self, name: str = "here") -> Repository:
        return Repository.open(str(self.base / f"{name}.toml"), passphrase=self.secret)

    def create(self, name: str = "here", **how: Any) -> None:
        folder = self.base / name
        Repository.create(
            str(self.base / f"{name}.toml"),
            store=str(folder / "store"),
            metadata=f"sqlite://{folder / 'db' / 'metadata.sqlite'}",
            block_size=BLOCK,
            **how,
        ).close()

    def back_up(self, volume: str, content: bytes, **how: Any) -> str:
        image = self.base / f"{volume}.img"
        image.write_bytes(content)
        with self.open() as repository:
            uid = repository.backup(str(image), volume, **how).version.uid
        self.expected[uid] = content
        return uid

    def lived(self, **how: Any) -> None:
        """Four versions of two volumes that share content, with tags, protection, holes and a removal behind them."""
        self.create(**how)
        content = bytearray(os.urandom(12 * BLOCK + 77))
        first = self.back_up("vm-1", bytes(content), tags=["first"])
        content[2 * BLOCK : 4 * BLOCK] = bytes(2 * BLOCK)
        self.back_up("vm-1", bytes(content))
        content[5 * BLOCK : 6 * BLOCK] = os.urandom(BLOCK)
        gone = self.back_up("vm-1", bytes(content))
        content[6 * BLOCK : 7 * BLOCK] = os.urandom(BLOCK)
        self.back_up("vm-1", bytes(content))
        self.back_up("vm-2", bytes(content[: 5 * BLOCK]) + os.urandom(BLOCK))
        with self.open() as repository:
            repository.tag([first], add=["second"])
            repository.remove([gone])
        del self.expected[gone]
        self.victims = [first, list(self.expected)[1]]
        content[0:BLOCK], content[3 * BLOCK : 4 * BLOCK] = os.urandom(BLOCK), content[8 * BLOCK : 9 * BLOCK]
        content[7 * BLOCK : 8 * BLOCK] = bytes(BLOCK)
        self.coming = {"vm-1": bytes(content), "vm-3": bytes(content[: 3 * BLOCK])}
        for volume, bytes_ in self.coming.items():
            (self.base / f"{volume}.img").write_bytes(bytes_)

    def keep(self) -> None:
        shutil.copytree(self.base, self.kept, symlinks=True)

    def reset(self) -> None:
        shutil.rmtree(self.base)
        shutil.copytree(self.kept, self.base, symlinks=True)


Act = Callable[[World], None]

_PASSED = 7


def backup(world: World) -> None:
    with world.open() as repository:
        repository.backup(str(world.base / "vm-1.img"), "vm-1", tags=["new"])


def first_backup(world: World) -> None:
    with world.open() as repository:
        repository.backup(str(world.base / "vm-3.img"), "vm-3")


def rm(world: World) -> None:
    with world.open() as repository:
        for uid in world.victims:
            with suppress(NotFound):
                repository.remove([uid])


def tag(world: World) -> None:
    with world.open() as repository:
        repository.tag(world.victims, add=["third"], remove=["first"])


def protect(world: World) -> None:
    with world.open() as repository:
        repository.protect(world.victims, reason="a reason", by="somebody")
        with pytest.raises(Guarded):
            repository.remove([world.victims[0]])
        repository.unprotect(world.victims[:1])


def cleanup(world: World) -> None:
    with world.open() as repository:
        repository.cleanup()


def restore(world: World) -> None:
    with world.open() as repository:
        repository.restore(world.victims[0], str(world.base / "out.img"), force=True)


def heal(world: World) -> None:
    """A scrub finds a damaged chunk and a damaged piece of a segment; the next backup makes both good."""
    with world.open() as repository:
        repository.scrub()
        repository.backup(str(world.base / "vm-1.img"), "vm-1")


def copy(world: World) -> None:
    with world.open() as repository, world.open("there") as there:
        repository.copy(world.victims, there)


def reconcile(world: World) -> None:
    with world.open() as repository:
        repository.reconcile(dooms_orphans=True)


def rebuild(world: World) -> None:
    try:
        rebuild_repository(
            str(world.base / "here.toml"),
            store=None,
            metadata=None,
            dooms_orphans=True,
            ask=None,
            progress=ignore_progress,
        )
    except RepositoryError as error:
        # Recorded, and killed before the generation was raised: then that is what is left to do.
        assert "backy reconcile" in str(error)  # noqa: PT017
        reconcile(world)


def init(world: World) -> None:
    try:
        world.create()
    except RepositoryError as error:
        assert "already" in str(error) or "exists" in str(error)  # noqa: PT017


def change_passphrase(world: World) -> None:
    for secret in (OLD, NEW):
        world.secret = secret
        with world.open() as repository:
            try:
                repository.keys.change_passphrase(NEW, memory=MEMORY)
                break
            except Exception:
                if secret == NEW:
                    raise
    world.secret = NEW


def no_preparation(world: World) -> None:
    """Nothing but the past that every world has."""


def damage(world: World) -> None:
    with world.open() as repository:
        newest = repository.versions("vm-1")[-1]
        world.coming["vm-1"] = world.expected[newest.uid]
        (world.base / "vm-1.img").write_bytes(world.coming["vm-1"])
        block = repository.meta.view(newest, [8])[8]
        assert block.chunk is not None
        keys = [block.chunk.key, repository.meta.segments(newest)[-1].pieces[0].key]
    for key in keys:
        path = world.base / "here" / "store" / key
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)


def another_repository(world: World) -> None:
    world.create("there")


def older_database(world: World) -> None:
    """Put back a copy from before a backup, a removal, a cleanup and a tag."""
    old = world.base / "old"
    shutil.copytree(world.base / "here" / "db", old)
    world.back_up("vm-1", world.coming["vm-1"])
    uid = world.victims.pop(0)
    with world.open() as repository:
        repository.remove([uid])
        repository.cleanup()
        repository.tag([world.victims[0]], add=["since"])
    del world.expected[uid]
    shutil.rmtree(world.base / "here" / "db")
    old.rename(world.base / "here" / "db")


def lost_database(world: World) -> None:
    shutil.rmtree(world.base / "here" / "db")


def nothing_there(world: World) -> None:
    shutil.rmtree(world.base)
    world.base.mkdir()
    world.expected.clear()
    (world.base / "vm-3.img").write_bytes(world.coming["vm-3"])


SWEPT: dict[str, tuple[Act, Act]] = {
    "backup": (no_preparation, backup),
    "first backup": (no_preparation, first_backup),
    "rm": (no_preparation, rm),
    "tag": (no_preparation, tag),
    "protect": (no_preparation, protect),
    "cleanup": (no_preparation, cleanup),
    "restore": (no_preparation, restore),
    "scrub and heal": (damage, heal),
    "copy": (another_repository, copy),
    "reconcile": (older_database, reconcile),
    "reconcile what agrees": (no_preparation, reconcile),
    "rebuild": (lost_database, rebuild),
    "init": (nothing_there, init),
    "key passphrase": (no_preparation, change_passphrase),
}
SWEPT_TWICE = ("backup", "rm", "tag", "cleanup", "reconcile", "rebuild")
"""Killed inside transactions, too; with BACKY_KILL_EVERYTHING set, all are."""

MENDS_ITSELF = ("reconcile", "rebuild", "init")
"""Killed in the middle of these, a repository is refused until the same command has come through."""


def ended(world: World, act: Act, number: int, moment: str) -> str:
    """How a process ended that does this and kills itself at its n-th change: `killed`, `passed` (there is no such
    moment in that change), or `through` (there is no such change)."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            reached = _die_at(number, moment)
            act(world)
            os._exit(_PASSED if reached() else 0)
        except BaseException:  # noqa: BLE001 - whatever it was, this process ends here
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return "killed"
    assert os.WEXITSTATUS(status) in (0, _PASSED), "the command failed, see what it said"
    return "passed" if os.WEXITSTATUS(status) else "through"


def _die_at(number: int, moment: str) -> Callable[[], bool]:
    """From here on, this process kills itself at its n-th change. Returns what says whether that was reached."""
    from backy_meta_sql.database import Database

    lock, count = threading.Lock(), [0]

    def counted() -> bool:
        with lock:
            count[0] += 1
            return count[0] == number

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def watched(change: Callable[..., Any]) -> Callable[..., Any]:
        def changing(*arguments: Any, **how: Any) -> Any:
            mine = counted()
            try:
                return change(*arguments, **how)
            finally:
                if mine and moment == "after":
                    die()

        return changing

    for name in ("link", "unlink", "rename", "replace"):
        setattr(os, name, watched(getattr(os, name)))
    really = Database._write_once

    def write(self: Database, work: Callable[..., Any], *more: Any) -> Any:
        mine = counted()

        def working(connection: Any) -> Any:
            result = work(connection)
            if mine and moment == "inside":
                die()
            return result

        try:
            return really(self, working, *more)
        finally:
            if mine and moment == "after":
                die()

    Database._write_once = write  # type: ignore[method-assign, assignment]
    return lambda: count[0] >= number


def the_next_command(world: World, number: int, sound: bool) -> None:
    """One of the ordinary commands, each in its turn, as somebody who knows nothing of the kill would give it."""
    with world.open() as repository:
        turn = number % 5
        if turn == 0:
            (world.base / "vm-7.img").write_bytes(world.coming.setdefault("vm-7", os.urandom(2 * BLOCK)))
            repository.backup(str(world.base / "vm-7.img"), "vm-7")
        elif turn == 1:
            repository.cleanup()
        elif turn == 2:
            repository.tag(["vm-2"], add=["next"])
        elif turn == 3:
            repository.reconcile()
        else:
            assert not repository.check_database().differences or not sound


def everything_is_there(
    world: World, fsck: Callable[..., list[str]], name: str, expected: dict[str, bytes], *, sound: bool = True
) -> None:
    """After a cleanup: the versions, their contents, the comparison with the store, and the checker's opinion."""
    with world.open(name) as repository:
        repository.cleanup()
        finished = {version.uid: version for version in repository.versions() if version.state.is_finished}
        assert expected.keys() <= finished.keys()
        for uid, version in finished.items():
            out = world.base / "check.img"
            out.unlink(missing_ok=True)
            assert not repository.restore(uid, str(out)).damage
            assert out.read_bytes() == expected.get(uid, world.coming.get(version.volume)), version
        differences = repository.check_database().differences
        # A damaged segment stays with the older versions that list it; the newest is described by a fresh one.
        assert not differences or not sound
        assert not [line for line in differences if list(finished)[-1] in line]
    assert fsck(world.base / name / "store", world.base / name / "db" / "metadata.sqlite", clean=True) == []


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A place in memory if there is one: a killed process loses nothing that a disk would still have."""
    del tmp_path  # it is made before the folder for temporary files is another
    shared = Path("/dev/shm")
    top = Path(tempfile.mkdtemp(prefix="backy-", dir=shared if os.access(shared, os.W_OK) else None))
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(top))
    monkeypatch.setattr(tempfile, "tempdir", str(top))
    base = top / "a place"
    base.mkdir()
    yield World(base)
    shutil.rmtree(top)


@pytest.mark.slow
@pytest.mark.parametrize("command", SWEPT)
def test_killed_at_every_change_nothing_is_lost(world: World, place: SimpleNamespace, command: str) -> None:
    prepare, act = SWEPT[command]
    encrypted = command == "key passphrase"
    world.secret = OLD if encrypted else None
    world.lived(**({"passphrase": OLD, "kdf_memory": MEMORY} if encrypted else {}))
    prepare(world)
    world.keep()
    moments = MOMENTS if command in SWEPT_TWICE or os.environ.get("BACKY_KILL_EVERYTHING") else MOMENTS[1:]
    number = kills = 0
    came_through = False
    while not came_through:
        number += 1
        for moment in moments:
            world.reset()
            world.secret = OLD if encrypted else None
            how = ended(world, act, number, moment)
            if how == "through":
                came_through = True
                break
            if how == "passed":
                continue
            kills += 1
            at = f"{command}, killed {moment} change {number}"
            try:
                after_the_kill(world, place.fsck, command, number)
            except BaseException as error:
                error.add_note(at)
                raise
    assert kills > 1, "it was killed"
    print(f"{command}: {kills} kills")  # noqa: T201 - shown with -s: the figures of this run


def after_the_kill(world: World, fsck: Callable[..., list[str]], command: str, number: int) -> None:
    act = SWEPT[command][1]
    sound = command != "scrub and heal"
    expected = dict(world.expected)
    database = world.base / "here" / "db" / "metadata.sqlite"
    if command not in MENDS_ITSELF:
        assert fsck(world.base / "here" / "store", database) == []
        if command == "key passphrase":
            world.secret = opened_by(world)
        if command == "restore" and (world.base / "out.img").exists():
            assert (world.base / "out.img").read_bytes() == expected[world.victims[0]]
        the_next_command(world, number, sound)
    if command == "rm":
        for uid in world.victims:
            del expected[uid]
    act(world)
    if command == "init":
        first_backup(world)
    everything_is_there(world, fsck, "here", expected, sound=sound)
    with world.open() as repository:
        versions = {version.uid: version for version in repository.versions()}
        if command == "rm":
            assert not versions.keys() & set(world.victims)
        if command == "tag":
            assert all("third" in versions[uid].attributes.tags for uid in world.victims)
        if command == "protect":
            assert [versions[uid].attributes.protected is None for uid in world.victims] == [True, False]
        if command == "reconcile":
            assert "since" in versions[world.victims[0]].attributes.tags
        if command == "copy":
            with world.open("there") as there:
                copied = {version.identity: version.uid for version in there.versions()}
                repository_id = repository.facts.repository_id
                assert len(there.versions()) == len(world.victims), "each is copied once"
            over_there = {copied[f"backy:{repository_id}/{uid}"]: expected[uid] for uid in world.victims}
            everything_is_there(world, fsck, "there", over_there)
    world.coming.pop("vm-7", None)


def opened_by(world: World) -> str:
    """The passphrase that opens the repository now; at least one always does."""
    for secret in (NEW, OLD):
        world.secret = secret
        with world.open() as repository, suppress(Exception):
            repository.keys.unlock()
            return secret
    raise AssertionError("no passphrase opens the repository any more")
