"""The contract suite of a metadata store: subclass `MetaConformance` and give it one fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from backy_core.contracts.meta import MetaStore
from backy_core.testing.meta_blocks import BlocksConformance
from backy_core.testing.meta_found import FoundConformance
from backy_core.testing.meta_promises import PromisesConformance
from backy_core.testing.meta_removal import RemovalConformance
from backy_core.testing.meta_segments import SegmentsConformance
from backy_core.testing.meta_steps import FACTS
from backy_core.testing.meta_takeover import TakeoverConformance
from backy_core.testing.meta_versions import VersionsConformance

__all__ = ["MetaConformance"]


class MetaConformance(
    VersionsConformance,
    BlocksConformance,
    PromisesConformance,
    SegmentsConformance,
    RemovalConformance,
    TakeoverConformance,
    FoundConformance,
):
    """What every metadata store must do.

    The subclass gives the fixture `open_meta`: a function that opens one and the same fresh database, without a
    recorded repository, each time it is called; as two processes would. The suite closes what it opens.
    """

    @pytest.fixture
    def open_meta(self) -> Callable[[], MetaStore]:
        """Overridden by the subclass."""
        raise NotImplementedError

    @pytest.fixture
    def another(self, open_meta: Callable[[], MetaStore]) -> Iterator[Callable[[], MetaStore]]:
        """Open the database once more; closed when the test is over."""
        opened: list[MetaStore] = []

        def opening() -> MetaStore:
            opened.append(open_meta())
            return opened[-1]

        yield opening
        for meta in opened:
            meta.close()

    @pytest.fixture
    def meta(self, another: Callable[[], MetaStore]) -> MetaStore:
        """An initialised repository's metadata store."""
        meta = another()
        meta.initialise(FACTS)
        return meta
