"""One family of errors, each with its exit code and whether trying again can help.

A message is one line in lower case without a full stop; it names the thing and the next step. Damage found in stored
data is no error but a finding (`backy_core.model.Damage`); commands that end with findings use the `EXIT_` values.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "EXIT_CODES",
    "EXIT_DAMAGE_FOUND",
    "EXIT_HANGUP",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_OUTPUT",
    "EXIT_RESTORED_WITH_DAMAGE",
    "EXIT_TERMINATED",
    "AmbiguousSelector",
    "BackyError",
    "ConfigurationError",
    "Guarded",
    "InternalError",
    "InvalidHints",
    "InvalidInput",
    "KeyRefused",
    "MetaError",
    "NotFound",
    "ObjectCorrupt",
    "ObjectExists",
    "ObjectMissing",
    "ObjectUnreadable",
    "OutOfSpace",
    "PluginError",
    "RepositoryError",
    "SessionFenced",
    "SourceError",
    "StoreError",
    "TargetError",
    "TargetExists",
    "TargetInUse",
    "VersionBusy",
]


class BackyError(Exception):
    """Anything backy says no with. `again`: the same call may succeed later without anybody mending anything."""

    exit_code: ClassVar[int] = 1
    meaning: ClassVar[str] = "a fault in backy itself; run again with --debug and report it"
    again: ClassVar[bool] = False


class InternalError(BackyError):
    """A promise between two parts of backy, or of a plugin, was broken."""


class InvalidInput(BackyError):
    """What the caller asked for cannot be meant: a bad name, size or combination of options."""

    exit_code = 2
    meaning = "wrong usage: a bad option, name, size or selector"


class InvalidHints(InvalidInput):
    """The hints file is not usable, or the data contradicts it. Nothing of the backup was kept as valid."""


class AmbiguousSelector(InvalidInput):
    """A selector fits more than one version; the message lists the candidates."""


class NotFound(BackyError):
    """No such version, volume, source or repository."""

    exit_code = 4
    meaning = "no such version, volume, source or repository"


class TargetError(BackyError):
    """The target of a restore cannot take the data: too small, read-only, vanished, a write failed."""

    exit_code = 5
    meaning = "the restore target exists, is in use, too small or cannot be written"


class TargetExists(TargetError):
    """Something is at the target and `--force` was not given."""


class TargetInUse(TargetError):
    """The target is mounted, held by another device, or otherwise in use. Not even `--force` overwrites it."""


class VersionBusy(BackyError):
    """A version is pinned by a running restore, scrub or backup, or is still being written."""

    exit_code = 6
    meaning = "a version is in use by another running command; try again later"
    again = True


class SessionFenced(BackyError):
    """Another process took this one for dead and cleared up after it. Nothing acknowledged is lost."""

    exit_code = 6
    meaning = VersionBusy.meaning
    again = True


class ConfigurationError(BackyError):
    """Settings are missing, unknown, contradictory or of the wrong type."""

    exit_code = 7
    meaning = "settings are missing or wrong"


class PluginError(BackyError):
    """A plugin is missing, broken, of another API version, or two claim one name."""

    exit_code = 8
    meaning = "a plugin is missing, broken or does not fit this core"


class RepositoryError(BackyError):
    """Not initialised, of another repository, of a newer format, or database and store do not belong together."""

    exit_code = 9
    meaning = "the repository is not initialised, foreign, too new, or its database and store disagree"


class StoreError(BackyError):
    """The store cannot be reached or refuses. Never says anything about whether an object exists."""

    exit_code = 10
    meaning = "the store cannot be reached or refuses"
    again = True


class ObjectExists(StoreError):
    """`put` found an object under that key and left it as it was."""

    again = False


class ObjectMissing(StoreError):
    """The store was asked and is sure: there is no object under that key."""

    again = False


class ObjectCorrupt(StoreError):
    """An object was read and is not what its name says: wrong bytes, wrong length, another object."""

    again = False


class ObjectUnreadable(StoreError):
    """This one object cannot be read (a bad sector) though the store as a whole answers."""

    again = False


class MetaError(BackyError):
    """The metadata store cannot be reached, is damaged, or refuses."""

    exit_code = 11
    meaning = "the metadata store cannot be reached, is damaged or refuses"
    again = True


class OutOfSpace(BackyError):
    """A disk or quota is full. The message says whose: store, metadata store or target."""

    exit_code = 12
    meaning = "no space left at the store, the metadata store or the target"
    again = True


class SourceError(BackyError):
    """The source cannot be opened or read. No block of it was taken as zeros."""

    exit_code = 13
    meaning = "the source cannot be read"


class KeyRefused(BackyError):
    """No key opens the repository: a wrong passphrase, a key slot that is damaged or demands too much, no key given.

    Also: what was asked needs a key that this host does not hold.
    """

    exit_code = 14
    meaning = "no key opens the repository: wrong or missing passphrase, or a damaged key slot"


class Guarded(BackyError):
    """A guard forbids it, such as the protection of a version; the message says what lifts it."""

    exit_code = 15
    meaning = "a guard forbids it, such as the protection of a version"


EXIT_OK = 0
EXIT_RESTORED_WITH_DAMAGE = 3
EXIT_DAMAGE_FOUND = 20
EXIT_HANGUP = 129
EXIT_INTERRUPTED = 130
EXIT_OUTPUT = 141
"""What a shell says of a broken pipe: the work was done, but its result could not be printed."""
EXIT_TERMINATED = 143

EXIT_CODES: dict[int, str] = {
    EXIT_OK: "success",
    InternalError.exit_code: InternalError.meaning,
    InvalidInput.exit_code: InvalidInput.meaning,
    EXIT_RESTORED_WITH_DAMAGE: "restored, but some byte ranges are damaged; they are listed",
    NotFound.exit_code: NotFound.meaning,
    TargetError.exit_code: TargetError.meaning,
    VersionBusy.exit_code: VersionBusy.meaning,
    ConfigurationError.exit_code: ConfigurationError.meaning,
    PluginError.exit_code: PluginError.meaning,
    RepositoryError.exit_code: RepositoryError.meaning,
    StoreError.exit_code: StoreError.meaning,
    MetaError.exit_code: MetaError.meaning,
    OutOfSpace.exit_code: OutOfSpace.meaning,
    SourceError.exit_code: SourceError.meaning,
    KeyRefused.exit_code: KeyRefused.meaning,
    Guarded.exit_code: Guarded.meaning,
    EXIT_DAMAGE_FOUND: "damage was found: by a scrub, or in a version just written",
    EXIT_HANGUP: "ended by SIGHUP",
    EXIT_INTERRUPTED: "interrupted by the operator",
    EXIT_OUTPUT: "standard output could not be written: its reader is gone, or its disk is full",
    EXIT_TERMINATED: "ended by SIGTERM",
}
"""Every exit code of the command `backy` and what it means; the manual prints this table."""
