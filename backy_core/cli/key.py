"""`backy key`: the keys of an encrypted repository."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backy_core.cli.command import BackyCommand, command, global_options
from backy_core.cli.invocation import Invocation
from backy_core.cli.units import local_time, utc_time
from backy_core.errors import InvalidInput

if TYPE_CHECKING:
    from backy_core.encryption.stored_slots import StoredSlot

__all__ = ["command_line"]

EXAMPLES = """
backy key list
backy key add --label deputy
backy key passphrase
backy key export sheet.html
backy key export --write-only write.key
"""

_OPENING = (7, 8, 9, 10, 11, 14)
"""Exit codes of whatever opens a repository and its keys."""


class _KeyGroup(BackyCommand, click.Group):
    """A group that explains itself as the commands do."""


@click.command("key", cls=_KeyGroup, examples=EXAMPLES, exits=(4, 12, 15, *_OPENING))
def command_line() -> None:
    """Manage the keys of an encrypted repository.

    The master key lies in the store, wrapped in key slots: one for each passphrase or recovery key that opens it.
    Secrets are typed at the terminal, or come from files, the settings or the variable BACKY_PASSPHRASE; they are
    never given on the command line.
    """


command_line.params.extend(global_options())

_PASSPHRASE_FILE = click.option(
    "--passphrase-file",
    metavar="FILE",
    help="Open the repository with the passphrase in FILE, whatever the settings say.",
)
_NEW_PASSPHRASE_FILE = click.option(
    "--new-passphrase-file", metavar="FILE", help="Take the new passphrase from FILE instead of asking for it."
)
_MEMORY = click.option(
    "--kdf-memory",
    metavar="SIZE",
    help="Memory that trying a passphrase takes, 64MiB to 1GiB. Default: 256MiB.",
)


@command("list", examples="backy key list\nbacky key list --json", exits=(7, 8, 9, 10, 11))
def list_slots(invocation: Invocation) -> None:
    """List the key slots. No key is needed for that."""
    with invocation.open() as repository:
        slots = repository.keys.slots()
        encryption = repository.facts.encryption
    invocation.answer(
        {"encryption": encryption, "slots": [_slot_document(slot) for slot in slots]},
        _slot_lines(slots) if encryption else ["the repository is not encrypted and has no keys"],
    )


@command(
    "add",
    examples="backy key add --label deputy\nbacky key add --recovery escrow.pem.pub",
    exits=(12, 15, *_OPENING),
)
@click.option("--label", default="", metavar="TEXT", help="What the list is to say about it.")
@click.option("--recovery", metavar="FILE", help="For the holder of the private key to this public key (PEM).")
@_NEW_PASSPHRASE_FILE
@_PASSPHRASE_FILE
@_MEMORY
def add(
    invocation: Invocation,
    label: str,
    recovery: str | None,
    new_passphrase_file: str | None,
    passphrase_file: str | None,
    kdf_memory: str | None,
) -> None:
    """Add a key slot: another passphrase, or a recovery key."""
    from backy_core.cli.asking import given_passphrase, new_passphrase

    if recovery is not None and (new_passphrase_file is not None or kdf_memory is not None):
        raise InvalidInput("--recovery needs no new passphrase: leave --new-passphrase-file and --kdf-memory out")
    with invocation.open(given_passphrase(passphrase_file)) as repository:
        if recovery is not None:
            slot = repository.keys.add_recovery(Path(recovery), label=label)
        else:
            repository.keys.unlock()  # rather than ask for a new passphrase in vain
            fresh = new_passphrase("--new-passphrase-file", new_passphrase_file)
            slot = repository.keys.add_passphrase(fresh, label=label, memory=_size(kdf_memory))
    invocation.answer({"added": slot}, [f"added the key slot {slot}"])


@command("remove", examples="backy key remove 8c1f", exits=(4, 15, *_OPENING))
@click.argument("slot")
@_PASSPHRASE_FILE
def remove(invocation: Invocation, slot: str, passphrase_file: str | None) -> None:
    """Remove the key slot SLOT, named by its id or the beginning of it.

    The repository is opened by another slot first, so that one that opens is sure to stay.
    """
    from backy_core.cli.asking import given_passphrase

    with invocation.open(given_passphrase(passphrase_file)) as repository:
        removed = repository.keys.remove(slot)
    invocation.answer(
        {"removed": removed},
        [
            f"removed the key slot {removed}",
            "whoever has copied it, and can open it, still has the master key: see rotation in the manual",
        ],
    )


@command("passphrase", examples="backy key passphrase", exits=(12, 15, *_OPENING))
@_NEW_PASSPHRASE_FILE
@_PASSPHRASE_FILE
@_MEMORY
def change(
    invocation: Invocation, new_passphrase_file: str | None, passphrase_file: str | None, kdf_memory: str | None
) -> None:
    """Replace the passphrase: a new key slot, then the one that opened the repository is removed."""
    from backy_core.cli.asking import given_passphrase, new_passphrase

    with invocation.open(given_passphrase(passphrase_file)) as repository:
        repository.keys.unlock()
        fresh = new_passphrase("--new-passphrase-file", new_passphrase_file)
        new, old = repository.keys.change_passphrase(fresh, memory=_size(kdf_memory))
    lines = [f"added the key slot {new}"]
    lines += [f"removed the key slot {old}"] if old else ["no passphrase opened the repository, so none was removed"]
    if repository.settings.encryption.passphrase is not None:
        lines.append(f"next: put the new passphrase where {repository.settings.path} says that it is")
    invocation.answer({"added": new, "removed": old}, lines)


@command(
    "export",
    examples="backy key export sheet.html\nbacky key export --write-only write.key\nbacky key export -",
    exits=_OPENING,
)
@click.argument("file")
@click.option("--write-only", is_flag=True, help="The key for a host that may back up but not read.")
@_PASSPHRASE_FILE
def export(invocation: Invocation, file: str, write_only: bool, passphrase_file: str | None) -> None:
    """Write the recovery sheet to FILE (.html to print, or .txt); `-` is standard output.

    The sheet has the master key in letters and as a QR code. No file is overwritten, and none is readable by others.
    """
    from backy_core.cli.asking import given_passphrase

    what = "write key" if write_only else "recovery sheet"
    with invocation.open(given_passphrase(passphrase_file)) as repository:
        if file == "-":
            text = repository.keys.write_key().decode("ascii") if write_only else repository.keys.sheet("text")
            invocation.answer({"exported": what, "path": None, "content": text}, text.splitlines())
            return
        path = Path(file)
        if write_only:
            repository.keys.save_write_key(path)
        else:
            repository.keys.write_sheet(path)
    invocation.answer({"exported": what, "path": file, "content": None}, [f"wrote the {what} to {file}"])


@command("recovery-key", examples="backy key recovery-key escrow.pem")
@click.argument("file")
def recovery_key(invocation: Invocation, file: str) -> None:
    """Make a recovery key pair: FILE, to be locked away, and FILE.pub for `backy key add --recovery`."""
    from backy_core.encryption.recovery_keys import make_recovery_key

    public = make_recovery_key(Path(file))
    invocation.answer(
        {"private": file, "public": str(public)},
        [f"private key  {file}", f"public key   {public}", f"next: `backy key add --recovery {public}`"],
    )


for _made in (list_slots, add, remove, change, export, recovery_key):
    command_line.add_command(_made)


def _size(text: str | None) -> int | None:
    from backy_core.settings import parse_size

    return None if text is None else parse_size(text)


def _slot_document(stored: StoredSlot) -> dict[str, Any]:
    found = stored.found
    return {
        "slot": stored.slot,
        "kind": found.kind if found else None,
        "label": found.label if found else None,
        "created": utc_time(found.created) if found else None,
        "memory": found.argon2.memory_kib * 1024 if found and found.argon2 else None,
        "problem": stored.problem,
    }


def _slot_lines(slots: Sequence[StoredSlot]) -> Iterator[str]:
    from backy_core.cli.table import aligned

    yield from aligned(
        ("SLOT", "KIND", "CREATED", "LABEL"),
        [
            (slot.slot, slot.found.kind, local_time(slot.found.created), slot.found.label or "-")
            if slot.found
            else (slot.slot, "damaged", "-", slot.problem or "-")
            for slot in slots
        ],
    )
