"""From what the operator gives - settings, environment, an answer at the terminal - to the keys of the repository."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from backy_core.contracts.store import Store
from backy_core.encryption.keys import MasterKey, RepositoryKey
from backy_core.encryption.slots import KeySlot
from backy_core.encryption.stored_slots import MOST_SLOTS, read_slots
from backy_core.errors import KeyRefused, ObjectCorrupt
from backy_core.settings_values import RepositorySettings

__all__ = ["VARIABLE", "Ask", "Unlocked", "unlock"]

VARIABLE = "BACKY_PASSPHRASE"
"""The environment variable that may hold the passphrase."""

Ask: TypeAlias = Callable[[str], str | None]
"""Asks the operator for a secret with these words; None when there is nobody to ask."""


@dataclass(frozen=True, slots=True)
class Unlocked:
    """The key, and by what it was come by: `slot` is None when it did not come from a key slot."""

    key: RepositoryKey
    slot: KeySlot | None = None


def unlock(
    store: Store,
    repository_id: str,
    settings: RepositorySettings,
    *,
    passphrase: str | None = None,
    ask: Ask | None = None,
) -> Unlocked:
    """The key of the repository. `passphrase` goes before all that the settings and the environment say.

    Raises `KeyRefused` when nothing was given, or what was given opens nothing; `ConfigurationError` when what the
    settings name cannot be fetched; `StoreError` when the store cannot be reached.
    """
    said = settings.encryption
    if passphrase is not None:
        return _by_passphrase(store, repository_id, passphrase, "the passphrase")
    if said.passphrase is not None:
        return _by_passphrase(store, repository_id, settings.secret("passphrase"), f"the passphrase of {settings.path}")
    if said.write_key is not None:
        from backy_core.encryption.write_keys import read_write_key

        return Unlocked(read_write_key(said.write_key, repository_id))
    if said.recovery_key is not None:
        return _by_recovery_key(store, repository_id, settings)
    if said.recovery_code is not None:
        from backy_core.encryption.codes import parse_code

        return Unlocked(parse_code(settings.secret("recovery_code"), repository_id))
    if found := os.environ.get(VARIABLE):
        return _by_passphrase(store, repository_id, found, f"the passphrase in {VARIABLE}")
    answer = ask(f"Passphrase of the repository {settings.name}: ") if ask is not None else None
    if answer is not None:
        return _by_passphrase(store, repository_id, answer, "the passphrase")
    raise KeyRefused(
        f"the repository {settings.name!r} is encrypted and no key was given: set {VARIABLE}, or passphrase ="
        f' {{ file = ".." }} under [encryption] in {settings.path}, or run this on a terminal'
    )


def _by_passphrase(store: Store, repository_id: str, passphrase: str, called: str) -> Unlocked:
    from backy_core.encryption.passphrases import normalised

    normalised(passphrase)  # an empty one is refused before any work
    return _by_slots(store, repository_id, called, lambda slot: slot.open_with_passphrase(passphrase))


def _by_recovery_key(store: Store, repository_id: str, settings: RepositorySettings) -> Unlocked:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    from backy_core.encryption.recovery_keys import read_private

    assert settings.encryption.recovery_key is not None
    private = read_private(settings.encryption.recovery_key)
    public = private.public_key().public_bytes_raw()

    def exchange(point: bytes) -> bytes:
        return private.exchange(X25519PublicKey.from_public_bytes(point))

    called = f"the recovery key {settings.encryption.recovery_key}"
    return _by_slots(store, repository_id, called, lambda slot: slot.open_with_recovery_key(public, exchange))


def _by_slots(store: Store, repository_id: str, called: str, open_slot: Callable[[KeySlot], bytes | None]) -> Unlocked:
    slots = read_slots(store, repository_id)
    problems = [f"{slot.slot} {slot.problem}" for slot in slots if slot.problem is not None]
    tried = 0
    for slot in slots[: 2 * MOST_SLOTS]:
        if slot.found is None:
            continue
        tried += 1
        try:
            secret = open_slot(slot.found)
        except (ObjectCorrupt, KeyRefused) as error:
            problems.append(f"{slot.slot} {error}")
            continue
        if secret is not None:
            return Unlocked(MasterKey(repository_id, secret), slot.found)
    told = f"{called} opens none of the {tried} key slots in {store.location}"
    if not slots:
        told = f"there is no key slot in {store.location}: bring its keys/ back, or open it with the recovery sheet"
    elif problems:
        told += f"; {len(problems)} cannot be used: {problems[0]}"
    raise KeyRefused(told)
