"""What an operator does with the keys of a repository: list, add and remove key slots, write sheets and key files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from backy_core.contracts.store import Store
from backy_core.encryption import private_files
from backy_core.encryption.keys import MasterKey
from backy_core.encryption.passphrases import check_new, fresh_argon2
from backy_core.encryption.slots import PASSPHRASE, wrap_by_passphrase, wrap_for_recovery
from backy_core.encryption.stored_slots import StoredSlot, put_slot, read_slots, remove_slots
from backy_core.encryption.unlocking import Unlocked
from backy_core.errors import AmbiguousSelector, Guarded, InvalidInput, KeyRefused, NotFound, RepositoryError
from backy_core.model import RepositoryFacts
from backy_core.settings_values import RepositorySettings

__all__ = ["KeyRing"]


class KeyRing:
    """The keys of one open repository. `store` and `unlock` are called when they are needed, and no sooner.

    Each method that needs the master key raises `KeyRefused` when it cannot be had, on a host with a write key, too;
    and `RepositoryError` when the repository is not encrypted.
    """

    def __init__(
        self,
        settings: RepositorySettings,
        facts: RepositoryFacts,
        store: Callable[[], Store],
        unlock: Callable[[], Unlocked],
    ) -> None:
        self._settings = settings
        self._facts = facts
        self._store = store
        self._unlock = unlock

    def slots(self) -> list[StoredSlot]:
        """Every key slot, damaged ones last. Needs no key; empty for a repository that is not encrypted."""
        if self._facts.encryption is None:
            return []
        return read_slots(self._store(), self._facts.repository_id)

    def unlock(self) -> None:
        """Have the master key, now: so that what follows is not asked for in vain."""
        self._master()

    def add_passphrase(self, passphrase: str, *, label: str = "", memory: int | None = None) -> str:
        """Add a slot that this passphrase opens; its name. `memory`: bytes that opening it takes, 64 MiB to 1 GiB.

        Raises `InvalidInput` for a passphrase that is too short, and `Guarded` when there are too many slots.
        """
        check_new(passphrase)
        argon2 = fresh_argon2(memory)
        repository, secret = self._facts.repository_id, self._master().secret()
        return put_slot(
            self._store(),
            repository,
            lambda slot: wrap_by_passphrase(slot, repository, secret, passphrase, argon2, label),
        )

    def add_recovery(self, public: Path, *, label: str = "") -> str:
        """Add a slot that the holder of the private key to this public key (PEM) opens; its name."""
        from backy_core.encryption.recovery_keys import read_public

        recipient = read_public(public)
        repository, secret = self._facts.repository_id, self._master().secret()
        return put_slot(
            self._store(), repository, lambda slot: wrap_for_recovery(slot, repository, secret, recipient, label)
        )

    def remove(self, slot: str) -> str:
        """Remove a slot, named by its id or the beginning of it; its whole id.

        Raises `Guarded` for the last slot that can open the repository, and unless another slot has just opened it:
        that a slot looks whole does not prove that anybody can open it.
        """
        self._refuse_plain()
        slots = self.slots()
        named = [stored for stored in slots if slot and stored.slot.startswith(slot)]
        if not named:
            raise NotFound(f"there is no key slot {slot!r}; see `backy key list`")
        if len(named) > 1:
            raise AmbiguousSelector(f"{slot!r} may be {' or '.join(one.slot for one in named)}; give more of it")
        chosen = named[0]
        if not any(stored.found is not None and stored is not chosen for stored in slots):
            raise Guarded(f"{chosen.slot} is the last key slot that can open the repository; add another one first")
        self._master()
        opened = self._opened()
        if opened.slot is None or opened.slot.slot == chosen.slot:
            raise Guarded(
                f"nothing shows that anybody can open another slot than {chosen.slot}; open the repository by one that"
                " stays (--passphrase-file), then remove it"
            )
        remove_slots(self._store(), [chosen.slot])
        return chosen.slot

    def change_passphrase(self, passphrase: str, *, memory: int | None = None) -> tuple[str, str | None]:
        """Add a slot with a new passphrase, then remove the one that opened; the names of both.

        Killed in between, both open. The second is None when no passphrase but a recovery key or code opened: then none
        is removed.
        """
        opened = self._opened()
        old = opened.slot if opened.slot is not None and opened.slot.kind == PASSPHRASE else None
        new = self.add_passphrase(passphrase, label=old.label if old is not None else "", memory=memory)
        if old is not None:
            remove_slots(self._store(), [old.slot])
        return new, old.slot if old is not None else None

    def sheet(self, form: str) -> str:
        """The recovery sheet as `text` or `html`."""
        from backy_core.encryption.sheets import Sheet, html_sheet, text_sheet

        master = self._master()
        today = datetime.now(UTC).date().isoformat()
        sheet = Sheet(self._settings.name, self._facts.repository_id, self._store().location, today)
        return html_sheet(master, sheet) if form == "html" else text_sheet(master, sheet)

    def write_sheet(self, path: Path) -> None:
        """Write the recovery sheet to a file ending in `.html` or `.txt`; raises `InvalidInput`, never overwrites."""
        forms = {".html": "html", ".txt": "text"}
        if path.suffix not in forms:
            raise InvalidInput(f"{path} must end in .html (to print) or .txt")
        private_files.create(path, self.sheet(forms[path.suffix]).encode("utf-8"))

    def write_key(self) -> bytes:
        """The content of the file that a host gets which may back up but not read."""
        from backy_core.encryption.write_keys import write_key_text

        return write_key_text(self._master().write_key())

    def save_write_key(self, path: Path) -> None:
        """Write that file; raises `InvalidInput`, never overwrites."""
        private_files.create(path, self.write_key())

    def _refuse_plain(self) -> None:
        if self._facts.encryption is None:
            raise RepositoryError(
                f"the repository {self._settings.name!r} is not encrypted and has no keys; encryption is chosen once, "
                "with backy init --encrypt"
            )

    def _opened(self) -> Unlocked:
        self._refuse_plain()
        return self._unlock()

    def _master(self) -> MasterKey:
        key = self._opened().key
        if not isinstance(key, MasterKey):
            raise KeyRefused(
                "this host holds only the write key; do it where the passphrase or a recovery key of the repository is"
            )
        return key
