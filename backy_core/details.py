"""Counts what a version holds, for `show`."""

from __future__ import annotations

from backy_core.contracts.meta import MOST_VIEWED, MetaStore
from backy_core.extents import extents_of_blocks
from backy_core.model import Version
from backy_core.reports import VersionDetails

__all__ = ["details"]


def details(meta: MetaStore, version: Version) -> VersionDetails:
    """Data and hole blocks, the bytes that the version's chunks occupy, and its damaged byte ranges."""
    data = 0
    sizes: dict[int, int] = {}
    for start in range(0, version.block_count, MOST_VIEWED):
        for block in meta.view(version, range(start, min(start + MOST_VIEWED, version.block_count))).values():
            if block.chunk is not None:
                data += 1
                sizes[block.chunk.id] = block.chunk.stored_size
    return VersionDetails(
        version=version,
        data_blocks=data,
        hole_blocks=version.block_count - data,
        stored_bytes=sum(sizes.values()),
        damaged_extents=tuple(extents_of_blocks(meta.bad_indexes(version), version.block_size, version.size)),
    )
