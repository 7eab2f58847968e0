"""The contract of a source: what a backup reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime
from types import TracebackType
from typing import Self

from backy_core.model import Extent

__all__ = ["Source"]


class Source(ABC):
    """A volume's bytes, open for reading.

    `location` is its URL without secrets, `size` its exact size in bytes (0 is allowed). `read_into` may be called from
    `parallel_requests` threads at once.

    `identity` is a proof of sameness or None: two sources with an equal identity have equal bytes (a snapshot's
    permanent id, say). A file that somebody may write to has none. Only with it does a continued backup skip what an
    interrupted run has already read.

    A source that is itself a backup says what that one knew: `volume`, the name it went by; `made`, the (aware) time it
    was made at, which becomes the version's own; `expires`, when it may be let go.
    """

    location: str
    size: int
    parallel_requests: int = 4
    identity: str | None = None
    volume: str | None = None
    made: datetime | None = None
    expires: datetime | None = None

    @abstractmethod
    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the whole buffer from `offset`, or raise `SourceError`. Never leaves part of it unread in silence."""

    def data_extents(self) -> Iterator[Extent]:
        """The ranges that may hold data, sorted, without overlap; whatever lies between them reads as zeros.

        The default is one extent over everything.
        """
        if self.size:
            yield Extent(0, self.size)

    def close(self) -> None:
        """Give back files and connections. Called once; no other call follows."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
