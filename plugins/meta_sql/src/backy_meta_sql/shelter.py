"""Runs what no signal may interrupt halfway: Python handles signals in the main thread, so another thread does it.

An interrupt between taking a lock and noting that it must be given back would leave it taken as long as the process
lives, and every other writer waiting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["Shelter"]

T = TypeVar("T")


class Shelter:
    """One thread, made when first needed. What the main thread has it run is run in that order."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None

    def run(self, call: Callable[[], T]) -> T:
        """What `call` returns. An interrupt that comes meanwhile is raised when the call has ended."""
        if threading.current_thread() is not threading.main_thread():
            return call()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="backy-meta")
        future = self._thread.submit(call)
        try:
            return future.result()
        except BaseException:
            wait([future])
            raise

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None
