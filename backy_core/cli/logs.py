"""Sends log records to the operator: warnings always, more with `--verbose` and `--debug`."""

from __future__ import annotations

import logging

from backy_core.cli.invocation import Invocation

__all__ = ["LoggingTo"]


class LoggingTo(logging.Handler):
    """A handler on the root logger for the length of one command.

    Below warnings only what backy and its plugins say is passed on: SDKs have written secrets into their logs.
    """

    def __init__(self, invocation: Invocation) -> None:
        super().__init__()
        self.invocation = invocation
        if invocation.debug:
            self.setLevel(logging.DEBUG)
        else:
            self.setLevel(logging.INFO if invocation.verbose else logging.WARNING)

    def __enter__(self) -> None:
        root = logging.getLogger()
        self.level_before = root.level
        root.setLevel(min(self.level, root.level or logging.WARNING))
        root.addHandler(self)

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self.level_before)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is for the operator."""
        return record.levelno >= logging.WARNING or record.name.startswith("backy")

    def emit(self, record: logging.LogRecord) -> None:
        """Say it in one line; a traceback, where there is one, only with `--debug`."""
        if record.levelno >= logging.WARNING:
            self.invocation.tell("warning", record.getMessage())
        else:
            self.invocation.tell("log", f"{record.name}: {record.getMessage()}")
        if record.exc_info and self.invocation.debug:
            self.invocation.tell_traceback(record.exc_info[1])
