"""The hash function BLAKE3 as a plugin of backy: `--hash blake3`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backy_core.errors import PluginError
from backy_core.hooks import hookimpl

if TYPE_CHECKING:
    from backy_core.contracts.hash import Hash

__all__ = ["new_hash"]


@hookimpl
def new_hash(name: str) -> Hash | None:
    """BLAKE3 with 32 bytes; None for every other name. Raises `PluginError` without the package blake3."""
    if name != "blake3":
        return None
    try:
        from backy_hash_blake3.hash import Blake3Hash
    except ImportError as error:
        raise PluginError("the hash blake3 needs the package blake3: pip install blake3") from error
    return Blake3Hash()
