"""How a command is declared: its options, its examples, its exit codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

import click

from backy_core.cli.invocation import Invocation
from backy_core.errors import EXIT_CODES

__all__ = ["PROGRESS_MODES", "BackyCommand", "command", "global_options"]

PROGRESS_MODES = ("auto", "bar", "json", "plain", "none")


class BackyCommand(click.Command):
    """A command whose help ends with examples, kept as they were typed, and with the exit codes it may give."""

    def __init__(self, *args: Any, examples: str = "", exits: Sequence[int] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples.strip("\n").split("\n")
        self.exits = tuple(sorted({0, 1, 2, 130, *exits}))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections Examples and Exit codes."""
        with formatter.section("Examples"):
            for line in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), EXIT_CODES[code]) for code in self.exits])


def command(
    name: str, *, examples: str, exits: Sequence[int] = ()
) -> Callable[[Callable[..., int | None]], BackyCommand]:
    """Declare a command. Its function gets an `Invocation` first and returns the exit code, or None for success.

    `examples` are lines as a user would type them; `exits` names the codes, beyond those of every command, that it may
    end with.
    """

    def declare(function: Callable[..., int | None]) -> BackyCommand:
        def logged(invocation: Invocation, /, *args: Any, **kwargs: Any) -> int | None:
            from backy_core.cli.logs import LoggingTo

            with LoggingTo(invocation):
                return function(invocation, *args, **kwargs)

        body = update_wrapper(logged, function)
        made = click.command(name, cls=BackyCommand, examples=examples, exits=exits)(click.pass_obj(body))
        made.params.extend(global_options())
        return made

    return declare


def global_options() -> list[click.Option]:
    """The options that may stand before the command as well as after it."""
    return [
        click.Option(
            ("-R", "--repository"),
            metavar="NAME",
            help="The repository, or the path of its TOML file; else BACKY_REPOSITORY, else `default`.",
            expose_value=False,
            callback=_remember("repository"),
        ),
        click.Option(
            ("--json",),
            is_flag=True,
            help="Print one JSON document instead of text.",
            expose_value=False,
            callback=_remember("json"),
        ),
        click.Option(
            ("--progress",),
            type=click.Choice(PROGRESS_MODES),
            help="How long work shows on standard error that it goes on. Default: auto.",
            expose_value=False,
            callback=_remember("progress"),
        ),
        click.Option(
            ("-v", "--verbose"),
            is_flag=True,
            help="Log what is done.",
            expose_value=False,
            callback=_remember("verbose"),
        ),
        click.Option(
            ("-d", "--debug"),
            is_flag=True,
            help="Log everything, and show the traceback of an error.",
            expose_value=False,
            callback=_remember("debug"),
        ),
    ]


def _remember(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        invocation = ctx.find_object(Invocation)
        if value and invocation is not None:
            setattr(invocation, name, value)

    return callback
