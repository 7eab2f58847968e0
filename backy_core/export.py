"""Writes the metadata of versions down in a file, and makes versions from such a file: for moving, auditing, keeping.

The file is text, one JSON document a line: a head that names the repository, then of each version its facts, the
digests of its blocks (holes are left out) and a closing line; last the SHA-256 of all lines before. It holds no data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backy_core.contracts.meta import MOST_VIEWED, MetaStore
from backy_core.errors import InvalidInput, ObjectCorrupt
from backy_core.model import Attributes, RepositoryFacts, Version
from backy_core.objects.manifest import attributes_content, read_attributes
from backy_core.objects.segment import Entry
from backy_core.reports import Progress, ProgressCallback

__all__ = ["Exported", "export", "read_export"]

_FORMAT = 1
_DIGESTS_A_LINE = 128
_LONGEST_LINE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Exported:
    """A version as an export describes it. `entries` are to be gone through before the next version is asked for.

    `version` has the uid that it had; its place in a lineage means nothing here.
    """

    uid: str
    volume: str
    size: int
    created: datetime
    source: str
    attributes: Attributes
    entries: Iterator[Entry]


def export(
    meta: MetaStore,
    versions: Sequence[Version],
    write: Callable[[bytes], object],
    progress: ProgressCallback,
) -> None:
    """Write these pinned versions, line by line."""
    checksum = hashlib.sha256()

    def line(said: dict[str, Any]) -> None:
        data = json.dumps(said, separators=(",", ":")).encode() + b"\n"
        checksum.update(data)
        write(data)

    facts = meta.facts()
    line(
        {
            "backy": "export",
            "format": _FORMAT,
            "repository": facts.repository_id,
            "hash": facts.hash_name,
            "block_size": facts.block_size,
        }
    )
    for done, version in enumerate(versions, 1):
        line(
            {
                "version": version.uid,
                "volume": version.volume,
                "size": version.size,
                "created": version.created.isoformat(),
                "source": version.source,
                "attributes": json.loads(attributes_content(version.uid, 0, version.attributes)),
            }
        )
        blocks = 0
        for first, digests in _runs(_data(meta, version)):
            line({"at": first, "digests": [digest.hex() for digest in digests]})
            blocks += len(digests)
        line({"end": version.uid, "blocks": blocks})
        progress(Progress("export", done, len(versions)))
    write(json.dumps({"sha256": checksum.hexdigest()}).encode() + b"\n")


def read_export(path: Path, facts: RepositoryFacts) -> Iterator[Exported]:
    """The versions in the file, which was proved whole first. Raises `InvalidInput` for anything else."""
    try:
        _check_whole(path)
        with path.open("rb") as file:
            lines = _lines(file, path)
            head = next(lines, {})
            if head.get("backy") != "export" or head.get("format") != _FORMAT:
                raise InvalidInput(f"{path} is no export that this backy knows; make it with `backy export`")
            if head.get("repository") != facts.repository_id:
                raise InvalidInput(
                    f"{path} is of the repository {head.get('repository')}, not of {facts.repository_id}: an export "
                    "has no data in it; copy the versions with `backy copy`"
                )
            for said in lines:
                if "sha256" in said:
                    return
                found = _exported(said, lines, facts, path)
                yield found
                for _ in found.entries:  # whatever the caller left
                    pass
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise InvalidInput(f"{path} does not say what an export must say; make it anew with `backy export`") from error


def _exported(said: dict[str, Any], lines: Iterator[dict[str, Any]], facts: RepositoryFacts, path: Path) -> Exported:
    uid = said["version"]
    created = datetime.fromisoformat(said["created"])
    if created.tzinfo is None or type(said["size"]) is not int or said["size"] < 0 or type(said["volume"]) is not str:
        raise ValueError("a wrong time, size or name")
    try:
        attributes = read_attributes(json.dumps(said["attributes"]).encode(), uid, 0)
    except ObjectCorrupt as error:
        raise ValueError("wrong attributes") from error
    count = -(-said["size"] // facts.block_size)
    entries = _entries(lines, uid, count, path)
    return Exported(uid, said["volume"], said["size"], created, str(said["source"]), attributes, entries)


def _entries(lines: Iterator[dict[str, Any]], uid: str, count: int, path: Path) -> Iterator[Entry]:
    # These are asked for by who makes the version, out of reach of what `read_export` catches.
    try:
        yield from _blocks(lines, uid, count)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{path}: the blocks of version {uid} are not as they must be: {error}") from error


def _blocks(lines: Iterator[dict[str, Any]], uid: str, count: int) -> Iterator[Entry]:
    below = blocks = 0
    for said in lines:
        if "end" in said:
            if said["end"] != uid or said["blocks"] != blocks:
                raise ValueError("blocks are missing")
            return
        if said["at"] < below or said["at"] + len(said["digests"]) > count:
            raise ValueError("blocks out of order, or beyond the end")
        for index, digest in enumerate(said["digests"], said["at"]):
            yield index, bytes.fromhex(digest)
            below, blocks = index + 1, blocks + 1
    raise ValueError("the version does not end")


def _check_whole(path: Path) -> None:
    checksum, before, last = hashlib.sha256(), b"", b""
    with path.open("rb") as file:
        while last := file.readline(_LONGEST_LINE):
            checksum.update(before)
            before = last
    try:
        said = json.loads(before)
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.get("sha256") != checksum.hexdigest():
        raise InvalidInput(f"{path} is no export of backy, or it was cut off or changed; make it with `backy export`")


def _lines(file: Iterable[bytes], path: Path) -> Iterator[dict[str, Any]]:
    for line in file:
        said = json.loads(line)
        if not isinstance(said, dict):
            raise InvalidInput(f"{path} does not say what an export must say; make it anew with `backy export`")
        yield said


def _data(meta: MetaStore, version: Version) -> Iterator[tuple[int, bytes]]:
    for start in range(0, version.block_count, MOST_VIEWED):
        window = range(start, min(start + MOST_VIEWED, version.block_count))
        for index, block in meta.view(version, window).items():
            if block.chunk is not None:
                yield index, block.chunk.digest


def _runs(entries: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, list[bytes]]]:
    first, digests = 0, list[bytes]()
    for index, digest in entries:
        if digests and (index != first + len(digests) or len(digests) == _DIGESTS_A_LINE):
            yield first, digests
            digests = []
        if not digests:
            first = index
        digests.append(digest)
    if digests:
        yield first, digests
