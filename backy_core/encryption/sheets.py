"""Recovery sheets: the code of the master key on paper, with all that somebody needs to know who finds it in a safe."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backy_core.encryption.codes import code_of
from backy_core.encryption.keys import MasterKey

if TYPE_CHECKING:
    import segno

__all__ = ["Sheet", "html_sheet", "text_sheet"]

_GROUPS_IN_LINE = 4
_QUIET = 4
"""Modules of white that a QR code needs around it."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What stands on a sheet besides the code: the repository's name and id, its store's location, the day."""

    name: str
    repository_id: str
    location: str
    date: str


_TITLE = "Recovery sheet of the backy repository"
_TEXTS = (
    """
    With this code everybody can read everything in the repository, and without any key nobody can. Keep the sheet as
    safe as what is in the backups, away from the machines that are backed up, and not as a file on any of them.
    """,
    """
    To read the repository with it, on any machine with backy that reaches the store: write the code to a file that
    only you can read, and into the settings file of the repository, under the heading [encryption], the line
    recovery_code = { file = "/path/of/that/file" }. Capitals, spaces and dashes do not matter. Then make a new
    passphrase with `backy key add`, take the line out again, and destroy the file.
    """,
    """
    Who has seen this code keeps access to all that is ever sealed with it, whatever passphrases are changed or
    removed. If that may be so, make a new repository and copy the versions over.
    """,
)


def text_sheet(key: MasterKey, sheet: Sheet) -> str:
    """The sheet as text, with the QR code in block characters, dark where paper is to be dark."""
    import textwrap

    lines = [f"{_TITLE} {sheet.name}", ""]
    lines += [f"{heading:<15}{value}" for heading, value in _facts(sheet)]
    lines += ["", *(f"    {line}" for line in _code_lines(key)), "", *_blocks(key), ""]
    for text in _TEXTS:
        lines += [*textwrap.wrap(_flat(text), 79, break_long_words=False), ""]
    return "\n".join(lines[:-1]) + "\n"


def html_sheet(key: MasterKey, sheet: Sheet) -> str:
    """The sheet as one HTML file to be printed; it loads nothing from anywhere."""
    import io

    drawing = io.BytesIO()
    _qr(key).save(drawing, kind="svg", scale=5, border=_QUIET, xmldecl=False, dark="#000", light="#fff", unit="")
    facts = "".join(f"<dt>{html.escape(heading)}</dt><dd>{html.escape(value)}</dd>" for heading, value in _facts(sheet))
    texts = "".join(f"<p>{html.escape(' '.join(text.split()))}</p>" for text in _TEXTS)
    code = "\n".join(_code_lines(key))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{html.escape(f"{_TITLE} {sheet.name}")}</title>
<style>
body {{ font: 11pt/1.4 serif; max-width: 17cm; margin: 1.5cm auto; color: #000; background: #fff; }}
h1 {{ font-size: 16pt; }}
dl {{ display: grid; grid-template-columns: 4cm 1fr; }}
dd {{ margin: 0; font-family: monospace; overflow-wrap: anywhere; }}
pre {{ font: bold 16pt/1.6 monospace; letter-spacing: 0.06em; }}
svg {{ display: block; }}
@media print {{ body {{ margin: 0; }} }}
</style>
</head>
<body>
<h1>{html.escape(f"{_TITLE} {sheet.name}")}</h1>
<dl>{facts}</dl>
<pre>{code}</pre>
{drawing.getvalue().decode("utf-8").strip()}
{texts}
</body>
</html>
"""


def _flat(text: str) -> str:
    return " ".join(text.split())


def _facts(sheet: Sheet) -> Sequence[tuple[str, str]]:
    return (("Repository", sheet.repository_id), ("Store", sheet.location), ("Date", sheet.date))


def _code_lines(key: MasterKey) -> list[str]:
    groups = code_of(key).split("-")
    return [" ".join(groups[place : place + _GROUPS_IN_LINE]) for place in range(0, len(groups), _GROUPS_IN_LINE)]


def _qr(key: MasterKey) -> segno.QRCode:
    import segno

    return segno.make_qr(code_of(key).replace("-", ""), error="q")


def _blocks(key: MasterKey) -> list[str]:
    rows = [list(row) for row in _qr(key).matrix_iter(border=_QUIET)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    signs = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["".join(signs[top, bottom] for top, bottom in zip(*pair, strict=True)).rstrip() for pair in pairs]
