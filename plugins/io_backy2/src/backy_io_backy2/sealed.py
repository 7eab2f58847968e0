"""Encrypted blobs of backy2 2.12: AES-256-GCM over zstd, with a key per blob that the installation's key wraps.

A blob is 16 bytes of authentication tag, 16 bytes of nonce and the ciphertext of one zstd frame. The blob's own key is
wrapped as in RFC 3394 and stands in the export. The libraries are imported when the first such blob is met.
"""

from __future__ import annotations

from backy_core.errors import PluginError

__all__ = ["SealError", "largest", "unseal", "unwrap"]

_TAG = 16
_NONCE = 16


class SealError(Exception):
    """A blob cannot be decrypted; the text says why, to be put after its name."""


def largest(size: int) -> int:
    """More bytes than a blob with `size` bytes of content can have: what does not compress grows a little."""
    return size + size // 64 + 4096


def unwrap(key: bytes, wrapped: bytes) -> bytes:
    """The blob's own key; raises `SealError` when `key` is not the one it was wrapped with."""
    try:
        from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
    except ImportError as error:
        raise PluginError(f"encrypted versions need the package cryptography: {error}; install it") from error
    try:
        unwrapped = aes_key_unwrap(key, wrapped)
    except (InvalidUnwrap, ValueError) as error:
        raise SealError(
            "its envelope key does not open with the encryption_key of the settings: set the key that was in"
            " backy2's configuration when this export was made"
        ) from error
    if len(unwrapped) != 32:
        raise SealError(f"its envelope key has {len(unwrapped)} bytes instead of 32")
    return unwrapped


def unseal(key: bytes, blob: bytes | bytearray, size: int) -> bytes:
    """The `size` bytes of content of a blob with its own `key`; raises `SealError`."""
    try:
        import zstandard
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise PluginError(f"encrypted versions need cryptography and zstandard: {error}; install them") from error
    if len(blob) <= _TAG + _NONCE:
        raise SealError(f"it has only {len(blob)} bytes")
    tag, nonce = blob[:_TAG], blob[_TAG : _TAG + _NONCE]
    try:
        packed = AESGCM(key).decrypt(bytes(nonce), bytes(memoryview(blob)[_TAG + _NONCE :]) + bytes(tag), None)
    except InvalidTag as error:
        raise SealError("its authentication fails: it is damaged, or another block's") from error
    try:
        declared = zstandard.get_frame_parameters(packed).content_size
        if declared not in (size, zstandard.CONTENTSIZE_UNKNOWN):
            raise SealError(f"it holds {declared} bytes instead of {size}")
        content = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
    except zstandard.ZstdError as error:
        raise SealError(f"it does not decompress: {error}") from error
    if len(content) != size:
        raise SealError(f"it holds {len(content)} bytes instead of {size}")
    return bytes(content)
