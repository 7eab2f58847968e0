"""Bounded threads and buffers: what every use case that moves blocks runs on.

Reading, hashing, compressing and file I/O all release the interpreter lock for a block of some MiB, so a few threads
keep all cores busy. What is in flight is bounded by buffers and by the window of `ordered`, never by the volume's size.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from backy_core.reports import Progress, ProgressCallback

__all__ = ["Buffers", "Meter", "Workers", "buffer_count", "worker_count"]

T = TypeVar("T")
R = TypeVar("R")

_RESIDENT = 112 * 1024 * 1024
"""What the interpreter, the libraries and one database connection occupy beside the buffers."""

_FEWEST_BUFFERS = 2
"""So blocks of 64 MiB go beyond the default memory: two of them, and what compressing them takes, must fit."""
_MOST_BUFFERS = 64


def worker_count(asked: int | None) -> int:
    """How many threads to work with: what the settings ask for, or one more than there are processors, at most 8.

    One more, because some of them wait for a disk at any time.
    """
    return asked or min(8, len(os.sched_getaffinity(0)) + 1)


def buffer_count(memory: int, block_size: int) -> int:
    """How many block buffers fit into `memory` bytes, each with what compressing its block takes beside it."""
    return max(_FEWEST_BUFFERS, min(_MOST_BUFFERS, (memory - _RESIDENT) // (block_size + block_size // 2)))


class Buffers:
    """A fixed number of reusable block buffers."""

    def __init__(self, count: int, length: int) -> None:
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        self._unmade = count
        self._length = length

    def take(self) -> bytearray | None:
        """A free buffer, or None when all are in use."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            if not self._unmade:
                return None
            # Made when first needed: a small backup should not touch memory for a large one.
            self._unmade -= 1
            return bytearray(self._length)

    def wait(self) -> None:
        """Wait until a buffer is free; for the one thread that takes buffers, after it was refused one."""
        self._free.put(self._free.get())

    def give_back(self, buffer: bytearray) -> None:
        """Any thread may give a buffer back."""
        self._free.put(buffer)


class Workers:
    """A few threads that run calls; leaving the `with` waits for all of them, so that nothing writes on afterwards."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="backy")

    def submit(self, call: Callable[[], R]) -> Future[R]:
        """Run `call` soon."""
        return self._pool.submit(call)

    def ordered(self, call: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
        """`call(item)` for every item, results in the order of the items, at most `ahead` in flight or waiting."""
        waiting: deque[Future[R]] = deque()
        for item in items:
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
            waiting.append(self._pool.submit(call, item))
        while waiting:
            yield waiting.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=error is not None)


class Meter:
    """Counts bytes from any thread, and tells the progress callback about it twenty times a second at most."""

    _INTERVAL = 0.05

    def __init__(self, phase: str, total: int | None, callback: ProgressCallback) -> None:
        self._phase = phase
        self._total = total
        self._callback = callback
        self._lock = threading.Lock()
        self._next = 0.0
        self.done = 0
        self.stored_bytes = 0

    def count(self, done: int = 0, stored_bytes: int = 0) -> None:
        """Add to what is done. Any thread."""
        with self._lock:
            self.done += done
            self.stored_bytes += stored_bytes

    def reach(self, done: int) -> None:
        """Set what is done. Any thread."""
        with self._lock:
            self.done = done

    def show(self) -> None:
        """Call back when the last time is long enough ago. The thread that runs the use case."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._INTERVAL
            self._callback(Progress(self._phase, self.done, self._total, self.stored_bytes))

    def end(self) -> None:
        """Call back a last time."""
        self._callback(Progress(self._phase, self.done, self._total, self.stored_bytes))
