"""Makes unfinished files durable and visible together, and remembers whom it still has to tell that some were lost."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from backy_core.builtin.posix_errors import translated
from backy_core.builtin.posix_files import Unfinished, make_folders, parent, sync_folder
from backy_core.errors import BackyError, ObjectExists, StoreError

__all__ = ["Losses", "Publisher"]

_THREADS = 4  # in an fsync a thread only waits; the kernel turns flushes that meet into one

T = TypeVar("T")


class Publisher:
    """Publishes files below `root`, a descriptor of the directory that messages call `shown_root`."""

    def __init__(self, root: int, shown_root: str) -> None:
        self._root = root
        self._shown_root = shown_root
        # Folders whose own names this object has made durable. Somebody else may have made one a moment ago and not
        # yet synced it, so that a folder is there proves nothing.
        self._anchored: set[str] = {""}

    def publish(self, files: Sequence[Unfinished]) -> None:
        """Make every file durable, then give each its name, then make the names durable; discard the files in any case.

        When it raises, none may be relied on, and the names given so far are taken back. No name exists before the
        bytes behind it are durable.
        """
        linked = []
        try:
            self._flush(files)
            for file in files:
                self._link(file)
                linked.append(file.key)
            folders = {parent(file.key) for file in files}
            above = {up for folder in folders - self._anchored for up in _parents(folder)}
            _each(self._sync_folder, sorted(folders | above))
            self._anchored |= folders | above
        except BaseException:
            # On a full disk they would only take space, and stand in the way of another attempt.
            for key in linked:
                with contextlib.suppress(OSError):
                    os.unlink(key, dir_fd=self._root)
            raise
        finally:
            for file in files:
                file.discard()

    def _flush(self, files: Sequence[Unfinished]) -> None:
        def flush(file: Unfinished) -> None:
            try:
                file.flush()
            except OSError as error:
                raise translated(error, "make durable", self._path(file.key)) from error

        _each(flush, files)

    def _link(self, file: Unfinished) -> None:
        try:
            try:
                file.publish()
            except FileNotFoundError:
                make_folders(self._root, parent(file.key))
                file.publish()
        except FileExistsError as error:
            raise ObjectExists(f"{self._path(file.key)} exists already; it was left as it is") from error
        except OSError as error:
            raise translated(error, "give a written object its name", self._path(file.key)) from error

    def _sync_folder(self, folder: str) -> None:
        try:
            sync_folder(self._root, folder)
        except OSError as error:
            raise translated(error, "make durable the names in", self._path(folder)) from error

    def _path(self, key: str) -> str:
        return f"{self._shown_root}/{key}".rstrip("/")


class Losses:
    """Tells every thread that syncs about lost objects, not only the one that happened to meet the error.

    Threads share a batch: one's `sync` may lose what another has put and not yet synced. So a loss is told once to each
    thread, and to everybody as long as nothing new was put (a second `sync` alone cannot bring objects back). A thread
    may so hear of a loss that is not its own; it never takes a lost object for a durable one. The caller locks.
    """

    def __init__(self) -> None:
        self._count = 0
        self._error: BackyError | None = None
        self._puts_when_told = -1
        self._heard = threading.local()

    def record(self, error: BaseException) -> None:
        """Objects were lost for this reason, and no thread has been told yet."""
        self._count += 1
        if not isinstance(error, BackyError):
            error = StoreError("writing was interrupted; objects not yet synced are lost")
        self._error = error

    def told(self, puts: int) -> None:
        """This thread knows of all losses so far; `puts`: how many puts have begun since the store was opened."""
        self._heard.count = self._count
        self._puts_when_told = puts

    def tell(self, puts: int) -> None:
        """Raise the last loss again if this thread has not heard of it, or nothing was put since somebody did."""
        if self._error is None:
            return
        if getattr(self._heard, "count", 0) != self._count or puts == self._puts_when_told:
            self.told(puts)
            raise type(self._error)(*self._error.args) from self._error


def _parents(folder: str) -> list[str]:
    """The folders above this one, the root ("") included."""
    found = []
    while folder:
        folder = parent(folder)
        found.append(folder)
    return found


def _each(action: Callable[[T], None], things: Sequence[T]) -> None:
    """Do it to every one, in a few threads; when all have ended, raise the first error."""
    if len(things) <= _THREADS:  # the first fsync mostly carries the others' journal entries along
        for thing in things:
            action(thing)
        return

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(_THREADS, len(things)), "backy-fsync") as pool:
        results = [pool.submit(action, thing) for thing in things]
    for result in results:
        result.result()
