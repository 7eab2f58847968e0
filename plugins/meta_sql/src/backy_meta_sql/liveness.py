"""Tells whether the process behind a session lives: it holds a lock that the kernel drops when it dies."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

__all__ = ["Liveness"]


class Liveness:
    """The lock files of the sessions of one database, in the folder `<database>.sessions`."""

    def __init__(self, path: Path) -> None:
        self._folder = Path(f"{path}.sessions")
        self._held: dict[int, int] = {}
        self._guard = threading.Lock()

    def claim(self, session: int) -> None:
        """Hold the lock of a session that nobody else knows of yet."""
        # A transaction that is tried again claims the number that its rolled back self had claimed.
        self.let_go(session)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        place = self._folder / str(session)
        while True:
            handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_same_file(handle, place):
                    break
            except BaseException:
                os.close(handle)
                raise
            # Whoever had that number before, in a transaction that failed, has just removed the file.
            os.close(handle)
        with self._guard:
            self._held[session] = handle

    def seize(self, session: int) -> bool:
        """Take over the lock of a dead process's session, until `release`; False when its process lives.

        A lock file that is gone counts as dead: then nothing can prove otherwise.
        """
        with self._guard:
            if session in self._held:
                return False
        try:
            handle = os.open(self._folder / str(session), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        with self._guard:
            if session in self._held:
                # Another thread of ours was faster: let that one clear up.
                os.close(handle)
                return False
            self._held[session] = handle
        return True

    def claimed(self) -> set[int]:
        """The sessions that have a lock file, known or not."""
        try:
            return {int(name) for name in os.listdir(self._folder) if name.isdecimal()}
        except FileNotFoundError:
            return set()

    def let_go(self, session: int) -> None:
        """Drop the lock and leave the file."""
        with self._guard:
            handle = self._held.pop(session, None)
        if handle is not None:
            os.close(handle)

    def release(self, session: int) -> None:
        """The session is no more: remove its lock file."""
        (self._folder / str(session)).unlink(missing_ok=True)
        self.let_go(session)

    def drop(self) -> None:
        """Drop every lock; the files stay for the reaper."""
        with self._guard:
            held = list(self._held)
        for session in held:
            self.let_go(session)


def _is_same_file(handle: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), place.stat())
    except FileNotFoundError:
        return False
