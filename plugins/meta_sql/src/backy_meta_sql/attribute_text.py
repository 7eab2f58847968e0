"""Attributes as the JSON text that a row of the database keeps."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from backy_core.model import Attributes, Protection

__all__ = ["attribute_text", "attributes_of"]


def attribute_text(attributes: Attributes) -> str | None:
    """The text of attributes; None for those that say nothing."""
    if attributes == Attributes():
        return None
    protected = attributes.protected
    content = {
        "tags": sorted(set(attributes.tags)),
        "protected": None
        if protected is None
        else {"reason": protected.reason, "by": protected.by, "until": _instant_text(protected.until)},
        "expires": _instant_text(attributes.expires),
    }
    return json.dumps(content, sort_keys=True)


def attributes_of(content: str | None) -> Attributes:
    """The attributes in a text that `attribute_text` made."""
    if content is None:
        return Attributes()
    found = json.loads(content)
    protected = found["protected"]
    return Attributes(
        tuple(found["tags"]),
        None
        if protected is None
        else Protection(protected["reason"], protected["by"], _instant_of(protected["until"])),
        _instant_of(found["expires"]),
    )


def _instant_text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.astimezone(UTC).isoformat(timespec="microseconds")


def _instant_of(instant: str | None) -> datetime | None:
    return None if instant is None else datetime.fromisoformat(instant)
