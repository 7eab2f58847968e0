"""The JSON shapes of what the use cases report; docs/reference/json.md describes them field by field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from backy_core.cli.units import utc_time
from backy_core.model import Damage, Extent, Protection, RepositoryFacts, Version

__all__ = ["damage_document", "extents_document", "facts_document", "unlisted", "version_document"]


def version_document(version: Version) -> dict[str, Any]:
    """A version, times in UTC, sizes in bytes."""
    return {
        "uid": version.uid,
        "volume": version.volume,
        "created": utc_time(version.created),
        "state": version.state.value,
        "size": version.size,
        "block_size": version.block_size,
        "lineage": version.lineage,
        "birth": version.birth,
        "finished": utc_time(version.finished) if version.finished else None,
        "source": version.source,
        "base": version.base_uid,
        "interrupted": version.interrupted,
        "tags": list(version.attributes.tags),
        "protected": _protection_document(version.attributes.protected),
        "expires": utc_time(version.attributes.expires) if version.attributes.expires else None,
        "statistics": asdict(version.statistics) if version.statistics else None,
    }


def _protection_document(guard: Protection | None) -> dict[str, Any] | None:
    if guard is None:
        return None
    return {"reason": guard.reason, "by": guard.by, "until": utc_time(guard.until) if guard.until else None}


def extents_document(extents: Sequence[Extent]) -> list[dict[str, int]]:
    """Byte ranges, half-open, sorted."""
    return [{"offset": extent.offset, "length": extent.length} for extent in extents]


def damage_document(damage: Sequence[Damage]) -> list[dict[str, Any]]:
    """Findings: which object, how it is damaged, and where it shows when that is known."""
    return [
        {
            "kind": found.kind.value,
            "key": found.key,
            "reason": found.reason,
            "version": found.version_uid,
            "extents": extents_document(found.extents),
        }
        for found in damage
    ]


def unlisted(damaged_chunks: int, listed: Sequence[Damage]) -> Iterator[str]:
    """A line about the damaged chunks that a report counts but does not describe, if there are any."""
    missing = damaged_chunks - len({found.key for found in listed})
    if missing > 0:
        yield f"and {missing} more damaged objects"


def facts_document(facts: RepositoryFacts) -> dict[str, Any]:
    """What is fixed for a repository's life."""
    return {
        "repository_id": facts.repository_id,
        "format": facts.format,
        "hash": facts.hash_name,
        "block_size": facts.block_size,
        "created": utc_time(facts.created),
        "encryption": facts.encryption,
    }
