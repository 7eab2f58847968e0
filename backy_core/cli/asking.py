"""Secrets from the operator: typed at a terminal, or from a file or the environment; never from the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from backy_core.errors import InvalidInput

__all__ = ["ask", "given_passphrase", "new_passphrase"]


def ask(words: str) -> str | None:
    """What the operator types, unseen; None when standard input is no terminal."""
    import getpass

    if sys.stdin is None or not sys.stdin.isatty():
        return None
    try:
        return getpass.getpass(words)
    except EOFError:
        return None


def given_passphrase(file: str | None) -> str | None:
    """The passphrase in the file that an option names; None without the option."""
    if file is None:
        return None
    from backy_core.encryption.passphrases import read_file

    return read_file(Path(file))


def new_passphrase(option: str, file: str | None, variable: str | None = None) -> str:
    """A passphrase for a new key slot: from the file that the option names, the variable, or typed twice.

    Raises `InvalidInput` when there is none, it is too short, or the two differ.
    """
    from backy_core.encryption.passphrases import check_new

    found = given_passphrase(file)
    if found is None and variable is not None:
        found = os.environ.get(variable) or None
    if found is not None:
        return check_new(found)
    first = ask("New passphrase: ")
    if first is None:
        other = f", or set {variable}" if variable else ""
        raise InvalidInput(f"there is no terminal to ask for the new passphrase; give {option} FILE{other}")
    check_new(first)
    if ask("The same again: ") != first:
        raise InvalidInput("the two passphrases differ; nothing was done")
    return first
