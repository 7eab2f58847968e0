"""The store in a directory: objects are files, their keys are their paths."""

from __future__ import annotations

import errno
import os
import resource
import stat
import threading
from collections.abc import Iterator, Sequence

from backy_core.builtin.posix_batch import Losses, Publisher
from backy_core.builtin.posix_errors import UNREADABLE, shown, translated
from backy_core.builtin.posix_files import TMP, NotRegular, ShortRead, Unfinished, make_folders, parent, read
from backy_core.builtin.posix_listing import leftovers, walk
from backy_core.builtin.posix_root import check_root, open_root
from backy_core.builtin.reserve import RESERVE_NAME, RESERVE_SIZE, Reserve
from backy_core.contracts.store import DeleteFailure, ObjectInfo, Store, check_key
from backy_core.errors import (
    BackyError,
    InternalError,
    ObjectCorrupt,
    ObjectExists,
    ObjectMissing,
    ObjectUnreadable,
    OutOfSpace,
)
from backy_core.model import Buffer

__all__ = ["PosixStore"]

_NO_ANONYMOUS_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS})


class PosixStore(Store):
    """Objects as files below `root`, on any file system with hard links: folders 0700, files 0600.

    `put` writes a file without a name and has the kernel start carrying it to the disk; `sync` waits for that and
    gives the files of all puts so far their names. `anonymous` False: temporary files get names in `tmp/` (the fallback
    where the file system has no O_TMPFILE); `delete` clears those that a killed process left behind.

    Unsynced files are bounded by `pending_objects` (default 64, less if the limit of open files is low) and
    `pending_bytes`; the put that reaches either syncs. An urgent put is durable when it returns.
    """

    def __init__(
        self,
        location: str,
        root: str,
        *,
        create: bool = False,
        anonymous: bool = True,
        parallel_requests: int = 4,
        reserve_size: int = RESERVE_SIZE,
        pending_objects: int | None = None,
        pending_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        """Raises `RepositoryError` when `root` is absent or empty and `create` is not given."""
        self.location = location
        self.parallel_requests = parallel_requests
        self._path = root
        self._root = open_root(root, create=create)
        # Linking an anonymous file goes through /proc, which a bare chroot lacks.
        self._anonymous = anonymous and os.path.isdir("/proc/self/fd")
        self._reserve = Reserve(self._root, reserve_size)
        self._publisher = Publisher(self._root, shown(root))
        # Small batches are quicker than large ones: fewer dirty pages, and others write while one waits for the disk.
        # Of all descriptors they take half at most: one batch is being filled while another is being synced.
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]  # negative: no limit
        self._pending_objects = pending_objects or (min(64, max(1, allowed // 4)) if allowed >= 0 else 64)
        self._pending_bytes = pending_bytes
        self._lock = threading.Lock()  # guards the next four
        self._pending: list[Unfinished] = []
        self._pending_size = 0
        self._claimed: set[str] = set()  # keys being put, pending or being published
        self._puts = 0
        self._publishing = threading.Lock()  # held while a batch is published; guards the losses
        self._losses = Losses()
        if create:
            try:
                self._reserve.make()
            except OSError as error:
                self.close()
                raise translated(error, "make the reserve for a full disk", f"{root}/{RESERVE_NAME}") from error

    def put(self, key: str, parts: Sequence[Buffer], *, urgent: bool = False) -> None:
        """See `Store.put`. A race with another process is only seen by `sync`, which then raises `ObjectExists`."""
        self._check(key)
        self._claim(key)
        try:
            if urgent:
                self._put_at_once(key, parts)
                self._release([key])
                return
            file = self._write(key, parts)
        except BaseException:
            self._release([key])
            raise
        with self._lock:
            self._pending.append(file)
            self._pending_size += file.size
        if self._is_full():
            with self._publishing:
                if self._is_full():  # another thread may have done it while this one waited
                    self._publish_pending()

    def sync(self) -> None:
        """See `Store.sync`. Threads that call it meanwhile wait and share the next batch."""
        with self._publishing:
            try:
                self._publish_pending()
            except BaseException:
                self._losses.told(self._puts)
                raise
            self._losses.tell(self._puts)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """See `Store.get`. Raises `ObjectCorrupt` when something other than a file has the object's name."""
        self._check(key)
        try:
            return read(self._root, key, offset, length)
        except NotRegular as error:
            raise self._not_regular(key) from error
        except ShortRead as error:
            raise ObjectUnreadable(f"{self._shown(key)} became shorter while it was read") from error
        except OSError as error:
            raise self._reading_failed(error, key) from error

    def size(self, key: str) -> int:
        """See `Store.size`."""
        self._check(key)
        try:
            found = os.stat(key, dir_fd=self._root, follow_symlinks=False)
        except OSError as error:
            raise self._reading_failed(error, key) from error
        if not stat.S_ISREG(found.st_mode):
            raise self._not_regular(key)
        return found.st_size

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Store.list`. Whole folders are read at a time, so the memory needed is that of the largest folder."""
        try:
            yield from walk(self._root, prefix)
        except OSError as error:
            raise translated(error, "list", self._path) from error
        self._check_root()

    def delete(self, keys: Sequence[str]) -> Sequence[DeleteFailure]:
        """See `Store.delete`."""
        for key in keys:
            self._check(key)
        self._forget_pending(set(keys))
        failures = []
        try:
            unfinished = leftovers(self._root, keys)
        except OSError as error:
            raise translated(error, "list", f"{self._path}/{TMP}") from error
        for key in keys:
            for path in (key, *unfinished.get(key, ())):
                try:
                    os.unlink(path, dir_fd=self._root)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    failures.append(DeleteFailure(key, str(translated(error, "delete", self._shown(path)))))
                    break
        self._check_root()  # before absence is believed
        # The folders are not synced: after a power cut a deleted object may be back, which wastes space, loses nothing.
        self._reserve.remake()
        return failures

    def close(self) -> None:
        """Close all files; objects that were put and not synced are gone."""
        with self._publishing, self._lock:
            for file in self._pending:
                file.discard()
            self._pending = []
            if self._root >= 0:
                os.close(self._root)
            self._root = -1

    def _put_at_once(self, key: str, parts: Sequence[Buffer]) -> None:
        try:
            self._publisher.publish([self._write(key, parts)])
        except OutOfSpace:
            try:
                self._reserve.spend()
            except OSError as error:
                raise translated(error, "give up the reserve", self._shown(RESERVE_NAME)) from error
            # Also when it was spent already: another thread may have done that a moment ago.
            self._publisher.publish([self._write(key, parts)])
        self._check_root()

    def _write(self, key: str, parts: Sequence[Buffer]) -> Unfinished:
        """The object written in full, without its name; nothing of it is left when this raises."""
        try:
            try:
                os.stat(key, dir_fd=self._root, follow_symlinks=False)
            except FileNotFoundError:
                pass
            else:
                raise ObjectExists(f"{self._shown(key)} exists already; it was left as it is")
            file = self._begin(key)
            try:
                file.write(parts)
            except BaseException:
                file.discard()
                raise
        except OSError as error:
            raise translated(error, "write", self._shown(key)) from error
        return file

    def _begin(self, key: str) -> Unfinished:
        if self._anonymous:
            try:
                return self._begin_in(parent(key), key, anonymous=True)
            except OSError as error:
                if error.errno not in _NO_ANONYMOUS_FILES:
                    raise
                self._anonymous = False
        return self._begin_in(TMP, key, anonymous=False)

    def _begin_in(self, folder: str, key: str, *, anonymous: bool) -> Unfinished:
        try:
            return Unfinished(self._root, key, anonymous=anonymous)
        except FileNotFoundError:
            make_folders(self._root, folder)
            return Unfinished(self._root, key, anonymous=anonymous)

    def _is_full(self) -> bool:
        with self._lock:
            return len(self._pending) >= self._pending_objects or self._pending_size >= self._pending_bytes

    def _publish_pending(self) -> None:
        with self._lock:
            files, self._pending, self._pending_size = self._pending, [], 0
        if not files:
            return
        try:
            self._publisher.publish(files)
            # An object in a directory that was unmounted or moved away meanwhile is not where the next run looks.
            self._check_root()
        except BaseException as error:
            self._losses.record(error)
            raise
        finally:
            self._release([file.key for file in files])

    def _forget_pending(self, keys: set[str]) -> None:
        """Give up what was put under these keys and not synced."""
        with self._lock:
            if self._claimed.isdisjoint(keys):
                return
        with self._publishing:  # wait for those that are on their way to their names
            with self._lock:
                dropped = [file for file in self._pending if file.key in keys]
                self._pending = [file for file in self._pending if file.key not in keys]
                self._pending_size -= sum(file.size for file in dropped)
            for file in dropped:
                file.discard()
            self._release([file.key for file in dropped])

    def _claim(self, key: str) -> None:
        with self._lock:
            if key in self._claimed:
                raise ObjectExists(f"{self._shown(key)} was put already and waits for sync; it was left as it is")
            self._claimed.add(key)
            self._puts += 1

    def _release(self, keys: Sequence[str]) -> None:
        with self._lock:
            self._claimed.difference_update(keys)

    def _check(self, key: str) -> None:
        check_key(key)
        if key.partition("/")[0] in (TMP, RESERVE_NAME):
            raise InternalError(f"{key!r} is no object key here: a directory store keeps that name for itself")

    def _check_root(self) -> None:
        check_root(self._root, self._path)

    def _reading_failed(self, error: OSError, key: str) -> BackyError:
        """What an error met at one object means: it is absent, it is sick, or the whole store is out of reach."""
        if error.errno == errno.ENOENT:
            self._check_root()
            return ObjectMissing(f"there is no object {self._shown(key)}")
        if error.errno in UNREADABLE:
            self._check_root()
            cause = os.strerror(error.errno or 0).lower()
            return ObjectUnreadable(f"cannot read {self._shown(key)}: {cause}; check the disk and the kernel log")
        return translated(error, "read", self._shown(key))

    def _not_regular(self, key: str) -> ObjectCorrupt:
        return ObjectCorrupt(f"{self._shown(key)} is not a regular file; move it away")

    def _shown(self, key: str) -> str:
        return shown(f"{self._path}/{key}")
