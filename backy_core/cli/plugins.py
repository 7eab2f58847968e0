"""`backy plugins`: lists the installed plugins and whether they fit this core."""

from __future__ import annotations

from dataclasses import asdict

from backy_core.cli.command import command
from backy_core.cli.invocation import Invocation
from backy_core.cli.table import aligned

__all__ = ["command_line"]

EXAMPLES = """
backy plugins
backy plugins --json
"""


@command("plugins", examples=EXAMPLES)
def command_line(invocation: Invocation) -> None:
    """List every installed plugin: its kind, the name to type, its package, and whether it fits this core.

    Nothing is imported for it, so that a broken plugin is listed like any other.
    """
    from backy_core.plugins import installed

    found = installed()
    invocation.answer(
        {"plugins": [asdict(plugin) for plugin in found]},
        aligned(
            ("KIND", "NAME", "PACKAGE", "VERSION", "API", "VERDICT"),
            [
                (
                    plugin.kind,
                    plugin.name,
                    plugin.distribution,
                    plugin.version,
                    f"v{plugin.api}",
                    plugin.problem or "fits",
                )
                for plugin in found
            ],
        ),
    )
