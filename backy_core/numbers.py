"""A set of the metadata store's numbers, one bit each: they are dense, and there may be a thousand million."""

from __future__ import annotations

__all__ = ["NumberSet"]


class NumberSet:
    """Grows with the highest number in it."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, number: int) -> bool:
        """Add it; True when it was not in the set before."""
        place, bit = number >> 3, 1 << (number & 7)
        if place >= len(self._bits):
            self._bits.extend(bytes(max(place + 1 - len(self._bits), len(self._bits) // 2, 4096)))
        if self._bits[place] & bit:
            return False
        self._bits[place] |= bit
        return True

    def __contains__(self, number: int) -> bool:
        place = number >> 3
        return place < len(self._bits) and bool(self._bits[place] & 1 << (number & 7))
