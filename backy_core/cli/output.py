"""Standard output that says so when it is the one that failed, not the store or the database."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import TypeVar

__all__ = ["Output", "OutputFailed", "watch_output"]

T = TypeVar("T")


class OutputFailed(Exception):
    """Standard output could not be written: its reader went away (`quiet`), its disk is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output cannot be written: {error.strerror or error}")
        self.quiet = isinstance(error, BrokenPipeError)


class Output(TextIOWrapper):
    """A text stream whose failures are `OutputFailed`; after the first it swallows everything in silence."""

    def write(self, text: str, /) -> int:
        """Write, or raise `OutputFailed`."""
        return self._guarded(lambda: super(Output, self).write(text))

    def flush(self) -> None:
        """Flush, or raise `OutputFailed`."""
        self._guarded(super().flush)

    def _guarded(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except OSError as error:
            # What is left in the buffer must go somewhere, or the interpreter complains of it at its end.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            raise OutputFailed(error) from error


def watch_output() -> None:
    """Make this process's standard output an `Output`, which also shows what the terminal's character set lacks."""
    if isinstance(sys.stderr, TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdout, TextIOWrapper):
        encoding, lines = sys.stdout.encoding, sys.stdout.line_buffering
        sys.stdout = Output(sys.stdout.detach(), encoding, "backslashreplace", line_buffering=lines)
