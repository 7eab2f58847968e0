"""An exported version of backy2 as the source of a backup."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator

from backy_core.contracts.source import Source
from backy_core.errors import ConfigurationError, InvalidInput, SourceError
from backy_core.model import Extent, block_length
from backy_io_backy2.blobs import Blobs
from backy_io_backy2.dates import expires_at, made_at
from backy_io_backy2.files import require_folder
from backy_io_backy2.index import ExportIndex
from backy_io_backy2.location import location_of, paths_of, shown
from backy_io_backy2.settings import Backy2Settings

__all__ = ["Backy2Source"]

log = logging.getLogger(__name__)


class Backy2Source(Source):
    """The version that a `backy2://` URL names; see `backy_io_backy2.open_source` for what it raises.

    Its `identity` is the version's uid and the digest of the export, which has the checksum of every block.
    """

    def __init__(self, location: str, settings: Backy2Settings) -> None:
        export, said = paths_of(location)
        data = said if said is not None else str(settings.data) if settings.data is not None else None
        if data is None:
            raise InvalidInput(
                "where are the blobs of backy2? add ?data=/path/of/blobs to the URL, or set data under"
                " [plugin.io_backy2]: it is the path in [DataBackend] of backy2's configuration"
            )
        require_folder(data)
        self.location = location_of(export, data)
        self._index = ExportIndex(export, hashlib.new(settings.hash, usedforsecurity=False).digest_size)
        try:
            header = self._index.header
            self._refuse_invalid(shown(export), settings.allow_invalid)
            self._blobs = self._open_blobs(data, settings)
            self.size = header.size
            self.volume = header.name
            self.made = made_at(
                header.date, header.uid, is_utc=header.format not in ("2.1", "2.2"), zone=settings.timezone
            )
            self.expires = expires_at(header.expire)
            self.identity = f"backy2:{header.uid}:sha256:{self._index.digest}"
        except BaseException:
            self._index.close()
            raise
        self._recent: OrderedDict[int, bytes] = OrderedDict()
        self._turn = threading.Lock()

    def _refuse_invalid(self, export: str, allowed: bool) -> None:
        header = self._index.header
        block = self._index.first_invalid
        if header.valid and block is None:
            return
        told = f"version {header.uid} in {export} is marked invalid by backy2"
        if header.valid:
            told = f"block {block} of version {header.uid} in {export} is marked invalid by backy2"
        if not allowed:
            raise SourceError(
                f"{told}: its backup was interrupted, or a scrub found damage; import another version, or set"
                " allow_invalid = true under [plugin.io_backy2]"
            )
        log.warning("%s: what its interrupted backup did not come to is missing without a trace", told)

    def _open_blobs(self, data: str, settings: Backy2Settings) -> Blobs:
        key = bytes.fromhex(settings.encryption_key) if settings.encryption_key is not None else None
        blobs = Blobs(data, settings.hash, key)
        sealed = self._index.first_sealed
        if sealed is not None:
            if key is None:
                raise ConfigurationError(
                    f"block {sealed} of version {self._index.header.uid} is encrypted: set encryption_key under"
                    ' [plugin.io_backy2] in the settings file, for example as { file = "/path" }'
                )
            blobs.check_key(self._index.row(sealed))
        return blobs

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer from `offset` with content that matches its checksums, or raise `SourceError`."""
        view = buffer.cast("B")
        end = offset + len(view)
        if offset < 0 or end > self.size:
            raise SourceError(f"{self.location} has {self.size} bytes; bytes {offset} to {end} are not all in it")
        filled = 0
        while filled < len(view):
            index, skip = divmod(offset + filled, self._index.block_size)
            length = block_length(self.size, self._index.block_size, index)
            count = min(length - skip, len(view) - filled)
            part = view[filled : filled + count]
            if self._index.is_sparse(index):
                part[:] = bytes(count)
            elif count == length:
                self._blobs.read(self._index.row(index), part)
            else:
                part[:] = memoryview(self._whole(index, length))[skip : skip + count]
            filled += count

    def _whole(self, index: int, length: int) -> bytes:
        """A block of which a part is wanted: the next request is often for another part of it."""
        with self._turn:
            known = self._recent.get(index)
            if known is not None:
                self._recent.move_to_end(index)
                return known
        content = bytearray(length)
        self._blobs.read(self._index.row(index), memoryview(content))
        kept = bytes(content)
        with self._turn:
            self._recent[index] = kept
            while len(self._recent) > self.parallel_requests:
                self._recent.popitem(last=False)
        return kept

    def data_extents(self) -> Iterator[Extent]:
        """The ranges that have blobs; the sparse blocks between them are holes."""
        return self._index.extents()

    def close(self) -> None:
        """Close the export."""
        self._index.close()
