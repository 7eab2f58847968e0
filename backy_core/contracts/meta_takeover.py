"""The part of a metadata store's contract by which it is made, or made right, from what the store says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from backy_core.contracts.meta_values import Found, NewChunk
from backy_core.model import Attributes, Chunk, Segment, Version

__all__ = ["MetaTakeover"]


class MetaTakeover(ABC):
    """Taking over versions from a store: after the database was lost, or put back from an older copy.

    A version is taken over in this order: `place_version`, its rows, `take_version`. Only the last makes it visible; a
    run that is killed before leaves rows that the next `place_version` of the same version clears away. None of this
    needs a recorded repository: whoever makes a database anew calls `initialise` when everything else is done.
    """

    @abstractmethod
    def set_behind(self, session: int, behind: bool) -> None:
        """Record, durably, that this database is behind its store and is being made right, or that it is no more."""

    @abstractmethod
    def is_behind(self) -> bool:
        """Whether `set_behind` said so: then nobody else may write, whatever the generation."""

    @abstractmethod
    def place_version(self, session: int, version: Version) -> Version:
        """Find the place of a version that a manifest describes: the same version with the lineage and birth it gets.

        It keeps those that it had where that lineage does not exist yet (it is made then, with this parent if there is
        a version at that birth of it), or has neither a version nor a branching lineage at this birth or above.
        Otherwise it begins a lineage of its own, without parent. Rows that lie at its place, unseen, are deleted.
        """

    @abstractmethod
    def take_rows(self, session: int, version: Version, rows: Sequence[tuple[int, bytes | None]]) -> int:
        """Write rows of a placed version, ascending, at most `MOST_TAKEN`; how many were written.

        A row that says what the version inherits at that index anyway is left out. A digest that is no chunk becomes
        one without an object: bad, its nonce zero, its stored size 0.
        """

    @abstractmethod
    def take_version(self, session: int, version: Version, segments: Sequence[Segment], serial: int) -> Version:
        """Make a placed version visible, as `valid`; whoever takes versions over calls `refresh_states` in the end.

        With all that `version` says, its attributes (whose object has this serial, 0 for none) and its segments: a
        segment that the database knows, alike in place and pieces, is linked, not made twice; others may share pieces
        with it. The keys of its pieces are not doomed any more, and only with the last segment that has them again.
        """

    @abstractmethod
    def take_attributes(self, session: int, uid: str, attributes: Attributes, serial: int) -> None:
        """A finished version has these attributes, whose object, with this serial, is in the store."""

    @abstractmethod
    def take_found(self, session: int, objects: Sequence[NewChunk]) -> Found:
        """Compare chunks' objects that were found in the store, at most `MOST_TAKEN`, with the known chunks.

        A chunk without an object gets the first one found, and is good; its key is not doomed any more. Two objects of
        one digest in one call: the second is among the `others`.
        """

    @abstractmethod
    def move_chunk(self, session: int, chunk: NewChunk) -> None:
        """The chunk with this digest lies under this key, which was read and is whole; its former key is doomed."""

    @abstractmethod
    def chunks(self, after: int, limit: int = 1024) -> list[Chunk]:
        """The chunks with the lowest numbers above `after`, ascending."""

    @abstractmethod
    def find_chunks(self, digests: Sequence[bytes]) -> dict[bytes, Chunk]:
        """The chunks that have one of these digests, at most `MOST_TAKEN`."""

    @abstractmethod
    def doom_orphans(self, session: int, keys: Sequence[str]) -> int:
        """Doom those of the keys that no chunk, piece or upload has; how many."""
