"""Attributes of finished versions: each change has a serial, under which its object goes to the store."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, text

from backy_core.contracts.meta import PendingAttributes
from backy_core.errors import Guarded, InternalError, NotFound
from backy_core.model import Attributes, Version, attributes_key, manifest_key
from backy_meta_sql.attribute_text import attribute_text
from backy_meta_sql.dooming import doom
from backy_meta_sql.fences import raise_generation
from backy_meta_sql.rows import named, read_version, read_versions

__all__ = ["keys_of", "pending", "refuse_protected", "set_attributes", "stored", "take"]

_MOST_DOOMED = 1000
"""Keys doomed at once. There are more only where somebody skipped serials, and then the rest never existed."""

_SET = text("UPDATE versions SET attributes = :attributes, serial = :serial WHERE id = :id")
_STORED = text("UPDATE versions SET stored_serial = :serial WHERE id = :id AND stored_serial < :serial")


def set_attributes(connection: Connection, uid: str, attributes: Attributes) -> int:
    """See `MetaStore.set_attributes`."""
    number, serial, _ = _finished(connection, uid)
    values = {"attributes": attribute_text(attributes), "serial": serial + 1, "id": number}
    connection.execute(_SET, values)
    raise_generation(connection)
    return serial + 1


def pending(connection: Connection) -> list[PendingAttributes]:
    """See `MetaStore.pending_attributes`."""
    waiting = "WHERE v.state IN ('valid', 'invalid') AND v.serial > v.stored_serial"
    return [
        PendingAttributes(version.uid, row.serial, version.attributes)
        for version, row in read_versions(connection, waiting)
    ]


def stored(connection: Connection, uid: str, serial: int) -> None:
    """See `MetaStore.attributes_stored`. A version that is gone meanwhile is no error."""
    found = read_versions(connection, "WHERE v.uid = :uid", uid=uid)
    if not found:
        return
    version, row = found[0]
    if serial > row.serial:
        raise InternalError(f"{named(version)} never had attributes with the serial {serial}")
    _confirm(connection, uid, row.id, row.stored_serial, serial)


def take(connection: Connection, uid: str, attributes: Attributes, serial: int) -> None:
    """See `MetaTakeover.take_attributes`. Attributes set here later than those stay, and are put in their turn."""
    number, newest, confirmed = _finished(connection, uid)
    if serial >= newest:
        connection.execute(_SET, {"attributes": attribute_text(attributes), "serial": serial, "id": number})
    _confirm(connection, uid, number, confirmed, serial)


def keys_of(connection: Connection, uid: str) -> list[str]:
    """See `MetaStore.keys_of`; raises `NotFound`."""
    _, row = read_version(connection, uid)
    serials = range(max(row.stored_serial, 1), row.serial + 1)
    return [manifest_key(uid), *(attributes_key(uid, serial) for serial in serials)]


def refuse_protected(version: Version, now: datetime) -> None:
    """Raise `Guarded` for a version that is protected at this instant."""
    protected = version.attributes.protected
    if protected is None or (protected.until is not None and protected.until <= now):
        return
    until = "" if protected.until is None else f" until {protected.until.isoformat(timespec='seconds')}"
    by = f" by {protected.by}" if protected.by else ""
    reason = f" ({' '.join(protected.reason.split())})" if protected.reason else ""
    raise Guarded(f"{named(version)} is protected{by}{until}{reason}; `backy unprotect {version.uid}` lifts it")


def _finished(connection: Connection, uid: str) -> tuple[int, int, int]:
    version, row = read_version(connection, uid)
    if not version.state.is_finished:
        raise NotFound(f"{named(version)} is {version.state.value}; only a finished version has attributes to change")
    return row.id, row.serial, row.stored_serial


def _confirm(connection: Connection, uid: str, number: int, confirmed: int, serial: int) -> None:
    if serial > confirmed:
        connection.execute(_STORED, {"serial": serial, "id": number})
        older = range(max(confirmed, 1, serial - _MOST_DOOMED), serial)
        doom(connection, [attributes_key(uid, n) for n in older])
