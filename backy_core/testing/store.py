"""What every store must pass: subclass `StoreConformance` in a test module and give it `store` and `reopen`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from backy_core.contracts.store import Store
from backy_core.testing.store_listing import ListingConformance
from backy_core.testing.store_objects import MIB, ObjectConformance, Reopen

__all__ = ["Reopen", "StoreConformance"]


class StoreConformance(ObjectConformance, ListingConformance):
    """The contract of `backy_core.contracts.store.Store`, checked from outside.

    The store may hold other objects; a test only looks at those it made. Override what costs money or hours elsewhere:
    `many` (objects in the largest listing) and `largest` (bytes in the largest object).
    """

    many = 10_050
    largest = 64 * MIB

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """An open store; the subclass overrides this."""
        raise NotImplementedError("override the fixture store")

    @pytest.fixture
    def reopen(self, store: Store) -> Reopen:
        """Opens the place of `store` again, as another process would; the subclass overrides this."""
        raise NotImplementedError("override the fixture reopen")

    @pytest.fixture
    def cut_off(self, store: Store) -> Callable[[], None]:
        """Makes the place of `store` unreachable for good, for real."""
        pytest.skip("this suite has no way to make the store unreachable")
