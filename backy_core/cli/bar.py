"""The progress bar on a terminal. Only this module imports rich, and only a terminal imports this module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from backy_core import reports
from backy_core.cli.units import BYTE_PHASES, human_size

__all__ = ["bar"]


@contextmanager
def bar() -> Iterator[reports.ProgressCallback]:
    """A bar per phase on standard error, gone when the work is over: what remains on the screen is the result."""
    display = Progress(
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[amounts]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False, markup=False),
        refresh_per_second=8,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=True,
        expand=True,
    )
    tasks: dict[str, TaskID] = {}

    def callback(moment: reports.Progress) -> None:
        if moment.phase not in tasks:
            tasks[moment.phase] = display.add_task(moment.phase, total=moment.total, amounts="")
        display.update(tasks[moment.phase], completed=moment.done, total=moment.total, amounts=_amounts(moment))

    with display:
        yield callback


def _amounts(moment: reports.Progress) -> str:
    show = human_size if moment.phase in BYTE_PHASES else str
    text = show(moment.done) + (f" / {show(moment.total)}" if moment.total is not None else "")
    if moment.stored_bytes:
        text += f", {human_size(moment.stored_bytes)} {'stored' if moment.phase == 'read' else 'fetched'}"
    return text
