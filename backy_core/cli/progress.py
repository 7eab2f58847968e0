"""Shows that long work goes on: a bar on a terminal, plain lines in a log, NDJSON for a program."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backy_core.cli.invocation import Invocation
from backy_core.cli.units import BYTE_PHASES, human_duration, human_size
from backy_core.reports import Progress, ProgressCallback, ignore_progress

__all__ = ["Paced", "plain_line", "showing_progress"]

_PLAIN_SECONDS = 5.0
_JSON_SECONDS = 0.5


@contextmanager
def showing_progress(invocation: Invocation) -> Iterator[ProgressCallback]:
    """The callback for a use case, as `--progress` says. Nothing that goes wrong with showing reaches the work."""
    mode = invocation.progress
    if mode == "auto":
        mode = "bar" if _is_terminal() else "plain"
    if mode == "bar":
        from backy_core.cli.bar import bar

        with bar() as callback:
            yield callback
    elif mode == "json":
        with Paced(_JSON_SECONDS, lambda moment, seconds: _tell_json(invocation, moment, seconds)) as paced:
            yield paced.see
            paced.finish()
    elif mode == "plain":
        # The first line comes after a while only: a short command in a cron job writes no mail.
        with Paced(
            _PLAIN_SECONDS, lambda moment, seconds: invocation.tell("log", plain_line(moment, seconds))
        ) as paced:
            yield paced.see
    else:
        yield ignore_progress


class Paced:
    """Passes on at most one moment per `interval` seconds, and the end of every phase once one of it was passed on.

    `say` gets the moment and the seconds since the phase began. `finish` passes on the last moment in any case.
    """

    def __init__(
        self, interval: float, say: Callable[[Progress, float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.interval = interval
        self.say = say
        self.clock = clock
        self.phase = ""
        self.began = self.last = 0.0
        self.unsaid: Progress | None = None
        self.spoke = False

    def __enter__(self) -> Paced:
        return self

    def __exit__(self, *_: object) -> None:
        if self.spoke:
            self.finish()

    def see(self, moment: Progress) -> None:
        """Take a moment from the use case."""
        now = self.clock()
        if moment.phase != self.phase:
            if self.spoke:
                self.finish()
            self.phase, self.began, self.last, self.spoke = moment.phase, now, now, False
        self.unsaid = moment
        if now - self.last >= self.interval:
            self.last, self.spoke = now, True
            self.finish()

    def finish(self) -> None:
        """Pass on the last moment, if it was not."""
        if self.unsaid is not None:
            moment, self.unsaid = self.unsaid, None
            self.say(moment, self.clock() - self.began)


def plain_line(moment: Progress, seconds: float) -> str:
    """`read: 1.2 GiB of 4.0 GiB (30 %), 310.0 MiB stored, 12.0 s`."""
    show = human_size if moment.phase in BYTE_PHASES else str
    text = f"{moment.phase}: {show(moment.done)}"
    if moment.total:
        text += f" of {show(moment.total)} ({moment.done * 100 // moment.total} %)"
    if moment.stored_bytes:
        text += f", {human_size(moment.stored_bytes)} {'stored' if moment.phase == 'read' else 'from the store'}"
    return f"{text}, {human_duration(seconds)}"


def _tell_json(invocation: Invocation, moment: Progress, seconds: float) -> None:
    invocation.tell_json(
        "progress",
        phase=moment.phase,
        done=moment.done,
        total=moment.total,
        stored_bytes=moment.stored_bytes,
        seconds=round(seconds, 3),
    )


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
