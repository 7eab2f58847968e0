"""The console entry point: runs one command and turns whatever comes of it into an exit code and one line."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from backy_core.cli.group import backy, usage_message
from backy_core.cli.invocation import Invocation, error_document
from backy_core.cli.output import OutputFailed, watch_output
from backy_core.errors import EXIT_INTERRUPTED, EXIT_OUTPUT, BackyError, InternalError, InvalidInput

__all__ = ["Terminated", "main", "run"]


class Terminated(BaseException):
    """SIGTERM or SIGHUP has come. Raised in the main thread, so that everything open is closed on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    _guard_descriptors()
    watch_output()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP, and that is to stay so
            signal.signal(number, _terminate)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Whatever a command raises ends here."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    # Before parsing, for an error of parsing must already be told as the operator wants it.
    invocation = Invocation(json="--json" in options, debug="--debug" in options or "-d" in options)
    try:
        try:
            with backy.make_context("backy", list(arguments), obj=invocation) as context:
                return int(backy.invoke(context) or 0)
        except click.exceptions.Exit as ended:
            return ended.exit_code
        except BaseException as error:  # noqa: BLE001 - the last stop: every ending gets its line and exit code
            return _explain(invocation, error)
    except OutputFailed as failed:  # while explaining
        return _explain(invocation, failed)


def _explain(invocation: Invocation, error: BaseException) -> int:
    """Say what went wrong in one line; the traceback only where it was asked for."""
    if isinstance(error, OutputFailed):
        if not error.quiet:
            invocation.tell("error", str(error))
        return EXIT_OUTPUT
    if invocation.debug:
        invocation.tell_traceback(error)
    if isinstance(error, click.ClickException):
        return _end(invocation, usage_message(error), InvalidInput.exit_code, "invalid_input")
    if isinstance(error, BackyError):
        return _end(invocation, str(error), error.exit_code, _kind(error), error.again)
    if isinstance(error, KeyboardInterrupt):
        return _end(invocation, _interrupted(invocation, "interrupted"), EXIT_INTERRUPTED, "interrupted", True)
    if isinstance(error, Terminated):
        name = signal.Signals(error.number).name
        return _end(invocation, _interrupted(invocation, f"ended by {name}"), 128 + error.number, "interrupted", True)
    text = f"internal error: {type(error).__name__}: {error}"
    if not invocation.debug:
        text += "; run again with --debug and report what it prints"
    return _end(invocation, text, InternalError.exit_code, "internal_error")


def _end(invocation: Invocation, message: str, exit_code: int, kind: str, again: bool = False) -> int:
    invocation.tell("error", message)
    if invocation.json:
        invocation.print_json(error_document(message, exit_code, kind, again))
    return exit_code


def _kind(error: BackyError) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()


def _interrupted(invocation: Invocation, what: str) -> str:
    return f"{what}; {invocation.if_interrupted}" if invocation.if_interrupted else what


def _terminate(number: int, _: FrameType | None) -> None:
    for other in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)  # a second one must not disturb the way out
    raise Terminated(number)


def _guard_descriptors() -> None:
    """Put /dev/null where standard streams are closed, lest a database become descriptor 1 and be printed into."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    main()
