"""Lets the writers of one database take turns in the order in which they came, across threads and processes.

SQLite's own waiting polls, so a busy writer starves the others. Here every writer queues for an exclusive flock, which
the kernel hands on in order. Whoever releases a lock could still snatch it again before the next in line has woken up;
a second lock, held only while waiting for the first, stops that.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backy_core.errors import MetaError

__all__ = ["WriterTurns"]


class WriterTurns:
    """The queue of writers of the database `path`; `wait_seconds` bounds the waiting."""

    def __init__(self, path: Path, wait_seconds: float) -> None:
        self._database = path
        self._door = Path(f"{path}.queue")
        self._room = Path(f"{path}.writer")
        self._wait_seconds = wait_seconds

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the turn. Raises `MetaError` when it did not come in time, `OSError` when a lock file is refused."""
        held = self._taken_at_once()
        if held is None:
            held = self._waited_for()
        try:
            yield
        finally:
            os.close(held)

    def _taken_at_once(self) -> int | None:
        door = _opened(self._door)
        try:
            fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
            room = _opened(self._room)
            try:
                fcntl.flock(room, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                os.close(room)
                raise
        except BlockingIOError:
            return None
        finally:
            os.close(door)
        return room

    def _waited_for(self) -> int:
        # A blocking flock cannot be given a limit, so a thread waits, and is left behind when the time is up.
        wait = _Wait(self._door, self._room)
        held = wait.result(self._wait_seconds)
        if held is None:
            raise MetaError(
                f"the metadata database {self._database} is locked: another backy has held it for more than "
                f"{self._wait_seconds:g} s; try again, or look for a stopped process"
            )
        return held


class _Wait:
    def __init__(self, door: Path, room: Path) -> None:
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._abandoned = False
        self._held: int | None = None
        self._error: OSError | None = None
        threading.Thread(target=self._queue, args=(door, room), name="writer-turn", daemon=True).start()

    def result(self, seconds: float) -> int | None:
        try:
            self._over.wait(seconds)
        finally:
            with self._guard:
                self._abandoned = True
                held, self._held = self._held, None
        if self._error is not None:
            raise self._error
        return held

    def _queue(self, door_path: Path, room_path: Path) -> None:
        try:
            door = _opened(door_path)
            try:
                fcntl.flock(door, fcntl.LOCK_EX)
                room = _opened(room_path)
                try:
                    fcntl.flock(room, fcntl.LOCK_EX)
                except BaseException:
                    os.close(room)
                    raise
            finally:
                os.close(door)
        except OSError as error:
            self._error = error
        else:
            with self._guard:
                if self._abandoned:
                    os.close(room)
                else:
                    self._held = room
        self._over.set()


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
