"""What the directory store promises beyond the contract: layout, permissions, strange files, errors, the page cache."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backy_core.builtin.posix import PosixStore
from backy_core.errors import (
    InternalError,
    ObjectCorrupt,
    ObjectExists,
    ObjectMissing,
    ObjectUnreadable,
    RepositoryError,
    StoreError,
)


@pytest.fixture(params=["anonymous", "named"])
def anonymous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "anonymous")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "a store"


@pytest.fixture
def store(root: Path, anonymous: bool) -> Iterator[PosixStore]:
    with PosixStore(f"file://{root}", str(root), create=True, anonymous=anonymous) as store:
        yield store


def opened(root: Path, **choices: int | bool) -> PosixStore:
    return PosixStore(f"file://{root}", str(root), **choices)  # type: ignore[arg-type]


# -- layout ------------------------------------------------------------------------------------------------------


def test_an_object_is_a_file_under_its_key_for_this_user_only(store: PosixStore, root: Path) -> None:
    store.put("c/ab/one", [b"content"])
    assert not (root / "c" / "ab" / "one").exists()
    store.sync()
    assert (root / "c" / "ab" / "one").read_bytes() == b"content"
    for path in [root, *root.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert {path.name for path in root.iterdir()} <= {"c", "reserve", "tmp"}
    assert (root / "reserve").stat().st_blocks * 512 >= 1024 * 1024


def test_parents_of_a_new_store_are_made_and_an_existing_one_is_kept(tmp_path: Path) -> None:
    root = tmp_path / "x" / "y" / "store"
    with opened(root, create=True) as store:
        store.put("v/1", [b"kept"])
        store.sync()
    with opened(root, create=True) as store:
        assert store.get("v/1") == b"kept"


def test_the_root_may_be_a_symbolic_link(tmp_path: Path, root: Path) -> None:
    (tmp_path / "real").mkdir()
    root.symlink_to(tmp_path / "real")
    with opened(root, create=True) as store:
        store.put("v/1", [b"x"])
        store.sync()
        assert [info.key for info in store.list()] == ["v/1"]
        assert not store.delete(["v/1"])
    assert (tmp_path / "real" / "reserve").exists()


def test_a_dangling_link_or_a_file_as_root_is_refused_in_one_line(tmp_path: Path, root: Path) -> None:
    root.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError):
        opened(root, create=True)
    with pytest.raises(RepositoryError):
        opened(root)
    root.unlink()
    root.write_text("file")
    for create in (True, False):
        with pytest.raises(StoreError) as caught:
            opened(root, create=create)
        assert str(root) in str(caught.value)
        assert not caught.value.again
    assert root.read_text() == "file"


@pytest.mark.parametrize("key", ["reserve", "tmp", "tmp/x", "reserve/x"])
def test_the_names_that_the_store_keeps_for_itself_are_no_keys(store: PosixStore, root: Path, key: str) -> None:
    for action in (lambda: store.put(key, [b"x"]), lambda: store.get(key), lambda: store.delete([key])):
        with pytest.raises(InternalError):
            action()
    assert (root / "reserve").exists()


def test_files_that_are_no_objects_are_never_listed(store: PosixStore, root: Path) -> None:
    store.put("c/ab/one", [b"x"])
    store.sync()
    (root / "lost+found").mkdir(mode=0)
    (root / "c" / "ab" / ".nfs0000000012345").write_text("x")
    (root / "c" / "ab" / "UPPER").write_text("x")
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp" / "c%ab%one.0123456789abcdef").write_text("x")
    os.mkfifo(root / "c" / "ab" / "fifo")
    (root / "c" / "ab" / "link").symlink_to("one")
    assert [info.key for info in store.list()] == ["c/ab/one"]
    assert list(store.list("tmp/")) == list(store.list("res")) == list(store.list("t")) == []
    (root / "c" / "ab" / "fifo").unlink()


def test_named_and_anonymous_files_make_the_same_store(root: Path) -> None:
    with opened(root, create=True, anonymous=True) as first, opened(root, anonymous=False) as second:
        first.put("c/aa/1", [b"first"])
        second.put("c/aa/2", [b"second"])
        assert list((root / "tmp").iterdir()) != []
        first.sync()
        second.sync()
        assert second.get("c/aa/1") + first.get("c/aa/2") == b"firstsecond"
    assert list((root / "tmp").iterdir()) == []


def test_closing_drops_what_was_not_synced(store: PosixStore, root: Path) -> None:
    store.put("c/aa/1", [b"x"])
    store.close()
    with opened(root) as again:
        assert list(again.list()) == []
    assert not (root / "tmp").exists() or list((root / "tmp").iterdir()) == []


def test_the_leftovers_of_a_key_go_with_it_and_those_of_others_stay(store: PosixStore, root: Path) -> None:
    tmp = root / "tmp"
    tmp.mkdir(exist_ok=True)
    for name in ("c%aa%1.0123456789abcdef", "c%aa%1.fedcba9876543210", "c%aa%12.0123456789abcdef", "c%aa%1", "odd"):
        (tmp / name).write_text("x")
    assert not store.delete(["c/aa/1", "c/aa/2"])
    assert {path.name for path in tmp.iterdir()} == {"c%aa%12.0123456789abcdef", "c%aa%1", "odd"}
    for path in tmp.iterdir():
        path.unlink()


# -- bounds ------------------------------------------------------------------------------------------------------


def test_unsynced_objects_are_bounded_in_number_and_bytes(root: Path, anonymous: bool) -> None:
    with opened(root, create=True, anonymous=anonymous, pending_objects=5, pending_bytes=100_000) as store:
        before = len(os.listdir("/proc/self/fd"))
        for number in range(23):
            store.put(f"c/aa/{number}", [b"x"])
            assert len(os.listdir("/proc/self/fd")) < before + 5
        assert len(list(store.list())) == 20
        store.put("c/aa/large", [bytes(100_000)])
        assert len(list(store.list())) == 24
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_low_limit_of_open_files_is_kept(root: Path, anonymous: bool) -> None:
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from concurrent.futures import ThreadPoolExecutor
from backy_core.builtin.posix import PosixStore
with PosixStore("file:///x", {str(root)!r}, create=True, anonymous={anonymous}) as store:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.put(f"c/{{n % 256:02x}}/{{n}}", [b"x"]), range(1000)))
    store.sync()
    print(len(list(store.list())))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (result.stdout, result.stderr) == ("1000\n", "")


def test_too_few_descriptors_are_named_with_their_remedy(store: PosixStore) -> None:
    store.put("c/aa/1", [b"x"])
    store.sync()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        with pytest.raises(StoreError, match="ulimit -n"):
            store.get("c/aa/1")
        with pytest.raises(StoreError, match="ulimit -n"):
            store.put("c/aa/2", [b"x"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    store.put("c/aa/2", [b"x"])
    store.sync()
    assert store.get("c/aa/2") == b"x"


def test_a_short_write_is_continued_and_its_error_told(root: Path, anonymous: bool) -> None:
    """A limit of file size makes the kernel write short first and fail on the next call, like a full disk."""
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from backy_core.builtin.posix import PosixStore
from backy_core.errors import StoreError
with PosixStore("file:///x", {str(root)!r}, create=True, anonymous={anonymous}, reserve_size=4096) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    store.put("c/aa/1", [bytes(60_000), bytes(40_000)])
    try:
        store.put("c/aa/2", [bytes(60_000), bytes(40_000), b"x"])
    except StoreError as error:
        print(error.__cause__.errno)
    store.sync()
    print([(info.key, info.size) for info in store.list()])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (result.stdout, result.stderr) == (f"{errno.EFBIG}\n[('c/aa/1', 100000)]\n", "")
    assert not (root / "tmp").exists() or list((root / "tmp").iterdir()) == []


# -- strange things in the place of objects and folders ----------------------------------------------------------


def test_what_is_not_a_file_is_corrupt_and_hangs_nobody(store: PosixStore, root: Path) -> None:
    (root / "c").mkdir()
    os.mkfifo(root / "c" / "fifo")
    (root / "c" / "folder").mkdir()
    (root / "c" / "link").symlink_to("/etc/passwd")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root / "c")  # the address of a socket has 107 bytes at most
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        for name in ("fifo", "folder", "link", "socket"):
            for action in (store.get, lambda key: store.get(key, 1, 1), store.size):
                with pytest.raises(ObjectCorrupt, match="not a regular file") as caught:
                    action(f"c/{name}")
                assert "\n" not in str(caught.value)
            with pytest.raises(ObjectExists):
                store.put(f"c/{name}", [b"x"])
        assert list(store.list()) == []
        failures = store.delete([f"c/{name}" for name in ("fifo", "folder", "link", "socket")])
    assert [failure.key for failure in failures] == ["c/folder"]
    assert "is a directory" in failures[0].reason


def test_a_file_in_the_place_of_a_folder_is_refused_by_path_and_remedy(store: PosixStore, root: Path) -> None:
    (root / "c").write_text("x")
    for action in (lambda: store.get("c/aa/1"), lambda: store.put("c/aa/1", [b"x"]) or store.sync()):  # type: ignore[func-returns-value]
        with pytest.raises(StoreError) as caught:
            action()
        assert not isinstance(caught.value, (ObjectMissing, ObjectExists))
        assert "c/aa/1" in str(caught.value)
        assert "move away" in str(caught.value)
        assert not caught.value.again
        assert isinstance(caught.value.__cause__, OSError)
    assert [failure.key for failure in store.delete(["c/aa/1", "d/1"])] == ["c/aa/1"]


def test_an_object_that_a_bad_sector_hides_is_unreadable_and_others_are_not(store: PosixStore, root: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    for key in ("c/aa/good", "c/aa/sick"):
        store.put(key, [b"x" * 10_000])
    store.sync()
    code = f"""
from backy_core.builtin.posix import PosixStore
from backy_core.errors import ObjectUnreadable
with PosixStore("file:///x", {str(root)!r}) as store:
    assert store.get("c/aa/good") == b"x" * 10_000
    try:
        store.get("c/aa/sick")
    except ObjectUnreadable as error:
        print(error)
"""
    command = ["strace", "-qq", "-o", "/dev/null", "-P", str(root / "c/aa/sick"), "-e", "inject=pread64:error=EIO"]
    result = subprocess.run(
        [*command, sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.stderr == ""
    assert "c/aa/sick: input/output error" in result.stdout
    assert result.stdout.count("\n") == 1


def test_an_object_cut_while_it_is_read_is_unreadable(store: PosixStore, root: Path) -> None:
    """No lucky moment is waited for: the file is cut by another thread again and again."""
    store.put("c/aa/1", [bytes(8 << 20)])
    store.sync()
    path, done = root / "c" / "aa" / "1", threading.Event()
    kinds: set[int | str] = set()

    def cut() -> None:
        while not done.is_set():
            os.truncate(path, 100)
            os.truncate(path, 8 << 20)

    with ThreadPoolExecutor(1) as pool:
        cutting = pool.submit(cut)
        try:
            for _ in range(3000):
                try:
                    kinds.add(len(store.get("c/aa/1")))
                except ObjectUnreadable as error:
                    kinds.add(str(error))
                    break
        finally:
            done.set()
        cutting.result(60)
    assert f"{path} became shorter while it was read" in kinds
    assert kinds <= {f"{path} became shorter while it was read", 100, 8 << 20}


def as_nobody(code: str) -> subprocess.CompletedProcess[str]:
    if os.geteuid() != 0:
        pytest.skip("taking another user's place needs root")
    # The imports come first: another user may not be allowed to read where this checkout lies.
    start = """
import os
from backy_core.builtin.posix import PosixStore
import backy_core.errors, concurrent.futures.thread, re, encodings.idna
os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.root
def test_denied_access_is_told_with_path_and_remedy_and_is_not_worth_another_try() -> None:
    with tempfile.TemporaryDirectory(prefix="backy store ") as folder:  # pytest's own are closed to other users
        deny(Path(folder))


def deny(root: Path) -> None:
    with opened(root, create=True) as store:
        store.put("c/aa/1", [b"x"])
        store.sync()
    for folder in (root, root / "c", root / "c" / "aa"):
        folder.chmod(0o755)
    result = as_nobody(f"""
for anonymous in (True, False):
    with PosixStore("file:///x", {str(root)!r}, anonymous=anonymous) as store:
        for action in (lambda: store.get("c/aa/1"), lambda: store.put("c/aa/2", [b"x"]),
                       lambda: store.put("d/2", [b"x"], urgent=True)):
            try:
                action()
            except backy_core.errors.StoreError as error:
                print(type(error).__mro__[1].__name__, error.again, "permission denied; give this user" in str(error))
        print(store.size("c/aa/1"), len(store.delete(["c/aa/1", "c/aa/3"])))
""")
    assert result.stderr == ""
    assert result.stdout == ("StoreError False True\n" * 3 + "1 1\n") * 2
    root.chmod(0o700)
    result = as_nobody(f"""
try:
    PosixStore("file:///x", {str(root)!r})
except backy_core.errors.StoreError as error:
    print(error)
""")
    assert str(root) in result.stdout
    assert "give this user" in result.stdout


# -- a root that is gone -----------------------------------------------------------------------------------------


def test_a_root_moved_away_while_objects_wait_is_no_durable_place(store: PosixStore, root: Path) -> None:
    store.put("c/aa/1", [b"x"])
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(StoreError):
        store.sync()
    root.mkdir()
    for action in (lambda: store.get("c/aa/never"), lambda: store.size("c/aa/never"), lambda: store.delete(["c/1"])):
        with pytest.raises(StoreError, match="taken the place") as caught:
            action()
        assert not isinstance(caught.value, ObjectMissing)
    assert list(root.iterdir()) == []


@pytest.mark.root
def test_something_mounted_over_the_root_is_noticed(store: PosixStore, root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    store.put("c/aa/1", [b"x"])
    store.sync()
    result = subprocess.run(["mount", "-t", "tmpfs", "none", str(root)], capture_output=True, check=False, timeout=60)
    if result.returncode:
        pytest.skip("cannot mount here")
    try:
        with pytest.raises(RepositoryError, match="is empty: mount"):
            opened(root)
        with pytest.raises(StoreError, match="taken the place"):
            list(store.list())
        store.put("c/aa/2", [b"x"])
        with pytest.raises(StoreError, match="taken the place"):
            store.sync()
    finally:
        subprocess.run(["umount", str(root)], check=True, timeout=60)
    assert store.get("c/aa/1") == b"x"


# -- lost batches ------------------------------------------------------------------------------------------------


def lose(store: PosixStore, root: Path, key: str) -> None:
    """Make the next batch fail for real: another opening takes the key first."""
    store.put(key, [b"mine"])
    with opened(root) as other:
        other.put(key, [b"other's"])
        other.sync()


def test_a_race_seen_only_by_sync_loses_the_batch_and_leaves_the_winner_alone(store: PosixStore, root: Path) -> None:
    store.put("c/aa/1", [b"x"])
    lose(store, root, "gens/7")
    with pytest.raises(ObjectExists):
        store.sync()
    assert {info.key for info in store.list()} == {"gens/7"}
    assert store.get("gens/7") == b"other's"


def test_a_second_sync_does_not_pass_off_lost_objects_as_durable(store: PosixStore, root: Path) -> None:
    lose(store, root, "gens/7")
    for _ in range(3):
        with pytest.raises(ObjectExists):
            store.sync()
    store.put("c/aa/again", [b"x"])
    store.sync()
    assert store.get("c/aa/again") == b"x"


def test_every_thread_that_syncs_hears_of_a_lost_batch_once(store: PosixStore, root: Path) -> None:
    with ThreadPoolExecutor(1) as flusher:
        store.put("c/aa/of-the-other-thread", [b"x"])
        lose(store, root, "gens/7")
        with pytest.raises(ObjectExists):
            store.sync()
        store.put("c/aa/new", [b"x"])  # this thread starts again ...
        with pytest.raises(ObjectExists):  # ... and the other one must not believe that its object is durable
            flusher.submit(store.sync).result(60)
        store.put("c/aa/newer", [b"x"])
        flusher.submit(store.sync).result(60)
        store.sync()
    assert {info.key for info in store.list("c/")} == {"c/aa/new", "c/aa/newer"}


def test_a_batch_lost_by_a_put_is_told_by_the_sync_that_follows(root: Path) -> None:
    with opened(root, create=True, pending_objects=3) as store:
        store.put("c/aa/1", [b"x"])
        lose(store, root, "gens/7")
        with pytest.raises(ObjectExists):
            store.put("c/aa/2", [b"x"])
        store.put("c/aa/3", [b"x"])
        with pytest.raises(ObjectExists):
            store.sync()
        store.put("c/aa/4", [b"x"])
        store.sync()


# -- the page cache ----------------------------------------------------------------------------------------------


class Extent(ctypes.Structure):
    """`struct cachestat_range` of Linux."""

    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class Pages(ctypes.Structure):
    """`struct cachestat` of Linux: counts of pages."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("cached", "dirty", "writeback", "evicted", "recent"))


def cached(path: Path) -> int:
    """How many pages of the file are in memory. Asked of the kernel: reading to find out would put them there."""
    pages = Pages()
    fd = os.open(path, os.O_RDONLY)
    try:
        call = ctypes.CDLL(None).syscall  # cachestat, the same number on every machine, since Linux 6.5
        if call(451, fd, ctypes.byref(Extent(0, 0)), ctypes.byref(pages), 0):
            pytest.skip("this kernel or file system cannot tell what is cached")
    finally:
        os.close(fd)
    return int(pages.cached)


def keeps_everything(folder: Path, data: bytes) -> bool:
    """Whether pages stay whatever one says, as on a file system in memory."""
    path = folder.parent / "probe"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return cached(path) > 0
    finally:
        os.close(fd)


def test_neither_writing_nor_reading_fills_the_page_cache(store: PosixStore, root: Path) -> None:
    size = 4 << 20
    data = os.urandom(size)
    store.put("c/aa/1", [data])
    store.sync()
    path = root / "c" / "aa" / "1"
    if keeps_everything(root, data):
        pytest.skip("this file system keeps everything in memory")
    assert cached(path) < size // 4096 // 4
    assert store.get("c/aa/1") == data
    assert cached(path) < size // 4096 // 4
    path.read_bytes()  # somebody keeps it in the cache ...
    assert cached(path) == size // 4096
    assert store.get("c/aa/1") == data
    assert store.get("c/aa/1", 100_000, 1_000_000) == data[100_000:1_100_000]
    assert cached(path) == size // 4096  # ... and a read by the store leaves it there


def test_a_reserve_that_is_gone_sparse_or_too_small_is_made_again_by_delete(store: PosixStore, root: Path) -> None:
    reserve = root / "reserve"
    for spoil in (reserve.unlink, lambda: os.truncate(reserve, 0), lambda: reserve.write_bytes(b"short")):
        spoil()
        assert not store.delete([])
        assert reserve.stat().st_blocks * 512 >= 1024 * 1024
