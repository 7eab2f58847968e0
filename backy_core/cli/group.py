"""The group `backy`: knows every command by name, and imports one only when it is called."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from backy_core.cli.command import global_options

__all__ = ["COMMANDS", "LazyGroup", "backy", "module_of", "usage_message"]

COMMANDS = {
    "init": "Make a repository.",
    "backup": "Back up a source as a new version of a volume.",
    "restore": "Write a version to a target.",
    "ls": "List versions, oldest first.",
    "show": "Tell what is known about one version.",
    "scrub": "Read versions back and check every byte.",
    "rm": "Remove versions by name.",
    "cleanup": "Free the space that no version needs any more.",
    "tag": "Add tags to versions and take them off.",
    "protect": "Keep versions from being removed.",
    "unprotect": "Let protected versions be removed again.",
    "copy": "Copy versions to another repository.",
    "export": "Write the metadata of versions to a file.",
    "import": "Make versions from an export, backy2's too.",
    "rebuild": "Make a lost database anew from the store.",
    "reconcile": "Make database and store agree again.",
    "check-database": "Prove that the store alone is enough.",
    "key": "Manage the keys of an encrypted repository.",
    "plugins": "List the installed plugins and whether they fit.",
}
"""Each command and its line in `backy --help`, which must not cost the import of all of them."""

_FORMERLY = {"initdb": "init"}
"""Words of backy2 that are spelt otherwise here."""

_EPILOG = """\
First steps:
  backy init                         a repository below your data directory
  backy backup disk.img vm-1         the first version of the volume vm-1
  backy ls                           what there is
  backy restore vm-1 restored.img    the newest version of vm-1, into a new file

Each command explains itself: backy COMMAND --help
"""


def module_of(name: str) -> str:
    """The module of a command."""
    from keyword import iskeyword

    return f"backy_core.cli.{name.replace('-', '_')}{'_' if iskeyword(name) else ''}"


class LazyGroup(click.Group):
    """Lists commands from a table; a command's module is imported when it is called, or asked for its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order in which one needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; None when there is no such command."""
        name = _FORMERLY.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        made = import_module(module_of(name)).command_line
        assert isinstance(made, click.Command)
        return made

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the one that was probably meant."""
        word = args[0]
        if word.startswith("-") or word in COMMANDS or word in _FORMERLY:
            return super().resolve_command(ctx, args)
        near = get_close_matches(word, COMMANDS, n=1)
        remedy = f"did you mean {near[0]}?" if near else "see `backy --help`"
        raise click.UsageError(f"no such command {word!r}; {remedy}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the section Commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first steps."""
        formatter.write("\n" + _EPILOG)


def usage_message(error: click.ClickException) -> str:
    """What is wrong with the words of a command line, in one line that ends with the next step."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    help_line = f"see `{context.command_path if context else 'backy'} --help`"
    if isinstance(error, click.NoSuchOption):
        known = [name for option in context.command.params for name in option.opts] if context else []
        near = get_close_matches(error.option_name, known, n=1)
        return f"no such option {error.option_name}; {f'did you mean {near[0]}?' if near else help_line}"
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return f"missing argument {error.param.human_readable_name.upper().strip('[].')}; {help_line}"
    text = error.format_message().rstrip(".")
    text = text[:1].lower() + text[1:]
    return text if "; " in text else f"{text}; {help_line}"


def _show_version(ctx: click.Context, _: click.Parameter, value: Any) -> None:
    if value:
        from backy_core import __version__

        click.echo(f"backy {__version__}")
        ctx.exit(0)


@click.group(
    cls=LazyGroup,
    name="backy",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.pass_context
def backy(ctx: click.Context) -> int:
    """Back up block devices: deduplicated, compressed, checked."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return 2
    return 0


backy.params.extend(global_options())
backy.params.append(
    click.Option(
        ("-V", "--version"),
        is_flag=True,
        is_eager=True,
        help="Print the version and exit.",
        expose_value=False,
        callback=_show_version,
    )
)
