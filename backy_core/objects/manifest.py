"""The content of manifests and attributes: JSON that says of a version all that its blocks do not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from backy_core.errors import ObjectCorrupt
from backy_core.model import Attributes, BackupStatistics, Protection, Segment, Version, VersionState

__all__ = [
    "ATTRIBUTES_LIMIT",
    "MANIFEST_LIMIT",
    "MOST_SEGMENTS",
    "Manifest",
    "StoredSegment",
    "attributes_content",
    "manifest_content",
    "read_attributes",
    "read_manifest",
]

MANIFEST_LIMIT = 64 * 1024 * 1024
ATTRIBUTES_LIMIT = 1024 * 1024
"""Bytes that the content may have."""

MOST_SEGMENTS = 10
"""Segments that a manifest lists at most."""


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """A segment as a manifest lists it: its pieces by digest, each with its first block index."""

    lineage: int
    since: int
    entries: int
    pieces: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says. `version` is `valid` as far as the store knows; its `manifest` is the content's digest."""

    version: Version
    segments: tuple[StoredSegment, ...]
    previous: bytes | None


def manifest_content(version: Version, segments: Sequence[Segment], previous: bytes | None) -> bytes:
    """The content of the manifest of a version whose `finished`, `statistics` and `attributes` are set."""
    assert version.finished is not None
    return _to_bytes(
        {
            "backy": "manifest",
            "uid": version.uid,
            "volume": version.volume,
            "size": version.size,
            "block_size": version.block_size,
            "created": _instant(version.created),
            "finished": _instant(version.finished),
            "lineage": version.lineage,
            "birth": version.birth,
            "parent": version.parent,
            "base": version.base_uid,
            "source": version.source,
            "identity": version.identity,
            "previous": previous.hex() if previous is not None else None,
            "statistics": asdict(version.statistics) if version.statistics is not None else None,
            "attributes": _attributes(version.attributes),
            "segments": [
                {
                    "lineage": segment.lineage,
                    "since": segment.since,
                    "entries": segment.entries,
                    "pieces": [[piece.digest.hex(), piece.first] for piece in segment.pieces],
                }
                for segment in segments
            ],
        }
    )


def read_manifest(content: bytes, uid: str, digest: bytes) -> Manifest:
    """What the content of `v/<uid>`, which has this digest, says. Raises `ObjectCorrupt` for anything else."""
    said = _parsed(content, "manifest", uid)
    try:
        statistics = said["statistics"]
        parent = said["parent"]
        version = Version(
            uid=uid,
            volume=_typed(said["volume"], str),
            state=VersionState.VALID,
            size=_number(said["size"]),
            block_size=_number(said["block_size"], least=1),
            lineage=_number(said["lineage"], least=1),
            birth=_number(said["birth"], least=1),
            created=_moment(said["created"]),
            finished=_moment(said["finished"]),
            source=_typed(said["source"], str),
            identity=_typed(said["identity"], str, type(None)),
            base_uid=_typed(said["base"], str, type(None)),
            statistics=None if statistics is None else _to_statistics(statistics),
            parent=None if parent is None else (_number(parent[0]), _number(parent[1])),
            manifest=digest,
            attributes=_to_attributes(said["attributes"]),
        )
        previous = said["previous"]
        segments = tuple(
            StoredSegment(
                lineage=_number(segment["lineage"]),
                since=_number(segment["since"]),
                entries=_number(segment["entries"]),
                pieces=tuple((bytes.fromhex(piece), _number(first)) for piece, first in segment["pieces"]),
            )
            for segment in said["segments"]
        )
        return Manifest(version, segments, None if previous is None else bytes.fromhex(previous))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ObjectCorrupt("does not say what a manifest must say") from error


def attributes_content(uid: str, serial: int, attributes: Attributes) -> bytes:
    """The content of `a/<uid>.<serial>`."""
    return _to_bytes({"backy": "attributes", "uid": uid, "serial": serial, **_attributes(attributes)})


def read_attributes(content: bytes, uid: str, serial: int) -> Attributes:
    """What the content of `a/<uid>.<serial>` says. Raises `ObjectCorrupt` for anything else."""
    said = _parsed(content, "attributes", uid)
    try:
        if said["serial"] != serial:
            raise ObjectCorrupt(f"has the serial {said['serial']}, not {serial}: it is another's or an older one")
        return _to_attributes(said)
    except (KeyError, TypeError, ValueError) as error:
        raise ObjectCorrupt("does not say what attributes must say") from error


def _attributes(attributes: Attributes) -> dict[str, Any]:
    guard = attributes.protected
    return {
        "tags": list(attributes.tags),
        "protected": None
        if guard is None
        else {"reason": guard.reason, "by": guard.by, "until": _instant(guard.until) if guard.until else None},
        "expires": _instant(attributes.expires) if attributes.expires else None,
    }


def _to_statistics(said: dict[str, Any]) -> BackupStatistics:
    if not isinstance(said, dict):
        raise ValueError("statistics that are none")
    # What a newer backy counts besides is none of ours.
    return BackupStatistics(**{one.name: said[one.name] for one in fields(BackupStatistics) if one.name in said})


def _to_attributes(said: dict[str, Any]) -> Attributes:
    guard, expires = said["protected"], said["expires"]
    return Attributes(
        tags=tuple(sorted({_typed(tag, str) for tag in said["tags"]})),
        protected=None
        if guard is None
        else Protection(
            _typed(guard["reason"], str),
            _typed(guard["by"], str),
            _moment(guard["until"]) if guard["until"] else None,
        ),
        expires=_moment(expires) if expires else None,
    )


def _parsed(content: bytes, what: str, uid: str) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ObjectCorrupt("is no JSON") from error
    if not isinstance(said, dict) or said.get("backy") != what:
        raise ObjectCorrupt(f"is no {what}")
    if said.get("uid") != uid:
        raise ObjectCorrupt(f"is of version {said.get('uid')!r}, not of {uid}: another object lies in its place")
    return said


def _to_bytes(content: dict[str, Any]) -> bytes:
    # Word for word the same for the same version: a run that ends what another began puts equal content.
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its offset")
    return moment


def _number(value: Any, least: int = 0) -> int:
    if type(value) is not int or not least <= value < 2**63:
        raise ValueError(f"{value!r} is no number")
    return value


def _typed(value: Any, *types: type) -> Any:
    if type(value) not in types:
        raise ValueError(f"{value!r} is of the wrong type")
    return value
