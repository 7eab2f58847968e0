"""What the global options of one run say, and the words this run sends to the operator."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backy_core.cli.units import one_line

if TYPE_CHECKING:
    from backy_core.repository import Repository

__all__ = ["SCHEMA", "Invocation", "error_document"]

SCHEMA = 1
"""Version of every JSON shape; it rises when a field changes its meaning or goes, not when one is added."""


@dataclass(slots=True)
class Invocation:
    """One run of `backy`. Results go to standard output, everything else to standard error."""

    repository: str | None = None
    json: bool = False
    progress: str = "auto"
    debug: bool = False
    verbose: bool = False
    if_interrupted: str = ""
    """What a command interrupted now leaves behind, for the last line on the screen."""

    def open(self, passphrase: str | None = None) -> Repository:
        """The repository the operator named, or the default one; its passphrase is asked for when nothing gives it."""
        from backy_core.cli.asking import ask
        from backy_core.repository import Repository

        return Repository.open(self.repository, passphrase=passphrase, ask=ask)

    def open_other(self, name: str) -> Repository:
        """A second repository, beside the one the operator works with."""
        from backy_core.cli.asking import ask
        from backy_core.repository import Repository

        return Repository.open(name, ask=ask)

    def answer(self, document: dict[str, Any], lines: Iterable[str]) -> None:
        """Print the result: the document with `--json`, else the lines. The only way to standard output."""
        if self.json:
            self.print_json(document)
        else:
            _print("".join(_printable(line) + "\n" for line in lines))

    def print_json(self, document: dict[str, Any]) -> None:
        """Print one JSON document, stamped with its schema."""
        _print(json.dumps({"schema": SCHEMA, **document}, indent=2) + "\n")

    def tell(self, event: str, message: str) -> None:
        """Say one line on standard error: `warning`, `error`, `log`. A broken standard error stops no command."""
        text = one_line(message)
        if self.progress == "json":
            self.tell_json(event, message=text)
        elif event == "log":
            _write_error(f"backy: {text}\n")
        else:
            _write_error(f"backy: {event}: {text}\n")

    def tell_traceback(self, error: BaseException | None) -> None:
        """Show where an error came from, for `--debug`."""
        if error is not None:
            import traceback

            trace = "".join(traceback.format_exception(error))
            if self.progress == "json":
                self.tell_json("traceback", message=trace)
            else:
                _write_error(trace)

    def tell_json(self, event: str, **facts: Any) -> None:
        """Write one line of NDJSON to standard error."""
        _write_error(json.dumps({"schema": SCHEMA, "event": event, **facts}) + "\n")


def error_document(message: str, exit_code: int, kind: str, again: bool) -> dict[str, Any]:
    """The document that stands on standard output, with `--json`, in place of a result."""
    return {"error": {"message": one_line(message), "exit_code": exit_code, "kind": kind, "again": again}}


def _write_error(text: str) -> None:
    """Write to standard error; where that is closed or full the words are lost, the work goes on."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def _print(text: str) -> None:
    if sys.stdout is not None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _printable(line: str) -> str:
    # Names come from the operator and from databases; a terminal must not obey what is in them.
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line)
