"""The contract of a target: where a restore writes."""

from __future__ import annotations

from abc import ABC, abstractmethod

from backy_core.model import Buffer

__all__ = ["Target"]


class Target(ABC):
    """A place that takes a version's bytes. Opening one has passed every guard (exists, in use, too small).

    `location` is its URL without secrets. `starts_zeroed`: every byte of it reads as zero when it is opened, so a hole
    needs no call. `write` and `zero` may be called from `parallel_requests` threads at once, for ranges without
    overlap. They raise `OutOfSpace` or `TargetError`, naming the offset.
    """

    location: str
    starts_zeroed: bool = False
    parallel_requests: int = 4

    @abstractmethod
    def write(self, offset: int, data: Buffer) -> None:
        """Write all the bytes at `offset`, or raise."""

    @abstractmethod
    def zero(self, offset: int, length: int) -> None:
        """Make the range read as zeros whatever was there before, without using space where that is possible."""

    @abstractmethod
    def finish(self) -> None:
        """Make everything durable and, for a new file, let it appear under its name. No write follows."""

    @abstractmethod
    def abandon(self) -> None:
        """Give up: what was written so far is never presented as a finished restore. Safe after `finish`, too."""
