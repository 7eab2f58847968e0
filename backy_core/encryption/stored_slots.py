"""The key slots of a repository in its store: listing, adding, removing."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from backy_core.contracts.store import Store
from backy_core.encryption.slots import KeySlot, parse_slot
from backy_core.errors import Guarded, KeyRefused, ObjectCorrupt, ObjectMissing, ObjectUnreadable, StoreError
from backy_core.objects.texts import TEXT_OBJECT_LIMIT

__all__ = ["MOST_SLOTS", "StoredSlot", "put_slot", "read_slots", "remove_slots", "slot_key"]

_PREFIX = "keys/"
_NAME = re.compile(r"[0-9a-f]{16}")
MOST_SLOTS = 32
"""Slots that a repository may have. Trying them all takes minutes at most, whatever a hostile store puts there."""

_MOST_LISTED = 1000


@dataclass(frozen=True, slots=True)
class StoredSlot:
    """A key slot, or what lies in the place of one: then `found` is None and `problem` says what is wrong with it."""

    slot: str
    found: KeySlot | None
    problem: str | None = None


def slot_key(slot: str) -> str:
    """The key of a key slot's object in the store."""
    return _PREFIX + slot


def read_slots(store: Store, repository_id: str) -> list[StoredSlot]:
    """Every key slot of the repository: the whole ones first, those that open fastest before the others.

    Raises `StoreError` when the store cannot be reached; a slot that cannot be read is no error.
    """
    names = sorted(listed.key.removeprefix(_PREFIX) for listed in islice(store.list(_PREFIX), _MOST_LISTED))
    found = [_read(store, name, repository_id) for name in names]
    return sorted((slot for slot in found if slot is not None), key=_order)


def put_slot(store: Store, repository_id: str, make: Callable[[str], bytes]) -> str:
    """Put the object that `make` makes for a new slot, durably; the slot's name. Raises `Guarded` when it has too many.

    It is read back before this returns: the next thing that happens may be that another slot is removed.
    """
    if len(read_slots(store, repository_id)) >= MOST_SLOTS:
        raise Guarded(f"the repository has {MOST_SLOTS} key slots, the most there may be; remove one first")
    slot = secrets.token_hex(8)
    data = make(slot)
    store.put(slot_key(slot), [data], urgent=True)
    store.sync()
    if store.get(slot_key(slot)) != data:
        raise StoreError(f"{store.location} does not give the key slot {slot} back as it was put; try another place")
    return slot


def remove_slots(store: Store, slots: list[str]) -> None:
    """Delete these slots. Raises `StoreError` when one cannot be deleted."""
    # Of all objects only these, manifests and attributes are deleted without being doomed first: a slot's name is
    # random and never given again, so that a delete that comes late hits nothing, and the database never names one.
    failures = store.delete([slot_key(slot) for slot in slots])
    if failures:
        raise StoreError(f"{failures[0].key} cannot be deleted from {store.location}: {failures[0].reason}")


def _read(store: Store, name: str, repository_id: str) -> StoredSlot | None:
    if not _NAME.fullmatch(name):
        return StoredSlot(name, None, "has no name of a key slot")
    try:
        data = store.get(slot_key(name), 0, TEXT_OBJECT_LIMIT + 1)
        return StoredSlot(name, parse_slot(data, name, repository_id))
    except ObjectMissing:
        return None  # removed since it was listed
    except (ObjectCorrupt, ObjectUnreadable, KeyRefused) as error:
        return StoredSlot(name, None, str(error))


def _order(slot: StoredSlot) -> tuple[bool, int, str]:
    return slot.found is None, slot.found.cost if slot.found else 0, slot.slot
