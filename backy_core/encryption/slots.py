"""Key slots: the master key wrapped by a passphrase, or for the holder of a recovery key."""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from backy_core.encryption.passphrases import Argon2, read_argon2
from backy_core.errors import InvalidInput, ObjectCorrupt
from backy_core.objects.texts import decode_text, encode_text

__all__ = ["PASSPHRASE", "RECOVERY", "KeySlot", "parse_slot", "wrap_by_passphrase", "wrap_for_recovery"]

PASSPHRASE, RECOVERY = "passphrase", "recovery"
_LONGEST_LABEL = 100


@dataclass(frozen=True, slots=True)
class KeySlot:
    """A key slot as it stands in the store; its values are checked for form, not for truth.

    `argon2` is set in one of kind `passphrase`; `ephemeral` and `recipient`, X25519 public keys, in a `recovery` one.
    """

    slot: str
    repository_id: str
    kind: str
    label: str
    created: datetime
    argon2: Argon2 | None = None
    ephemeral: bytes = b""
    recipient: bytes = b""
    nonce: bytes = field(default=b"", repr=False)
    commitment: bytes = field(default=b"", repr=False)
    wrapped: bytes = field(default=b"", repr=False)
    associated: bytes = field(default=b"", repr=False)

    @property
    def cost(self) -> int:
        """How much work opening it takes, for sorting."""
        return self.argon2.memory_kib * self.argon2.iterations if self.argon2 else 0

    def open_with_passphrase(self, passphrase: str) -> bytes | None:
        """The master key, None when the passphrase is another. Raises `ObjectCorrupt`, and see `Argon2.derive`."""
        if self.argon2 is None:
            return None
        return self._open(self.argon2.derive(passphrase), self.argon2.salt)

    def open_with_recovery_key(self, recipient: bytes, exchange: Callable[[bytes], bytes]) -> bytes | None:
        """The master key, None when the slot is for another. `exchange` gives X25519 of the private key with a point.

        Raises `ObjectCorrupt`.
        """
        if not hmac.compare_digest(recipient, self.recipient):
            return None
        try:
            shared = exchange(self.ephemeral)
        except ValueError as error:
            raise ObjectCorrupt("its ephemeral key is none") from error
        found = self._open(shared, self.ephemeral + self.recipient)
        if found is None:
            raise ObjectCorrupt("is for this recovery key, but is not opened by it: its head is damaged")
        return found

    def _open(self, input_key: bytes, salt: bytes) -> bytes | None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key, commitment = _derived(input_key, salt)
        if not hmac.compare_digest(commitment, self.commitment):
            return None
        try:
            return AESGCM(key).decrypt(self.nonce, self.wrapped, self.associated)
        except InvalidTag as error:
            raise ObjectCorrupt("its passphrase or key is right, but it was changed since it was made") from error


def parse_slot(data: bytes, slot: str, repository_id: str) -> KeySlot:
    """The key slot in the object `keys/<slot>` of this repository.

    Raises `ObjectCorrupt` when it is damaged or another's, `KeyRefused` when opening it would take too much.
    """
    said = decode_text(data, "key slot")
    if said["repository"] != repository_id:
        raise ObjectCorrupt(f"belongs to the repository {said['repository'][:100]!r}")
    if said.get("slot") != slot:
        raise ObjectCorrupt("is another slot, put in its place")
    try:
        created, kind = datetime.fromisoformat(said["created"]), said["kind"]
        if created.tzinfo is None or not isinstance(said["label"], str):
            raise ValueError("no time or no label")
        if kind == PASSPHRASE:
            own: dict[str, Any] = {"argon2": read_argon2(said["kdf"])}
        elif kind == RECOVERY:
            own = {"ephemeral": _bytes(said["ephemeral"], 32), "recipient": _bytes(said["recipient"], 32)}
        else:
            raise ValueError("unknown kind")
        return KeySlot(
            slot=slot,
            repository_id=repository_id,
            kind=kind,
            label=said["label"],
            created=created,
            nonce=_bytes(said["nonce"], 12),
            commitment=_bytes(said["commitment"], 32),
            wrapped=_bytes(said["wrapped"], 32 + 16),
            associated=_associated(said),
            **own,
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ObjectCorrupt("does not say what a key slot must say") from error


def wrap_by_passphrase(
    slot: str, repository_id: str, secret: bytes, passphrase: str, argon2: Argon2, label: str = ""
) -> bytes:
    """The object of a new key slot that this passphrase opens."""
    fields = _new(slot, repository_id, PASSPHRASE, label) | {"kdf": argon2.document()}
    return _wrap(fields, secret, argon2.derive(passphrase), argon2.salt)


def wrap_for_recovery(slot: str, repository_id: str, secret: bytes, recipient: bytes, label: str = "") -> bytes:
    """The object of a new key slot that the holder of this X25519 public key's private key opens.

    Raises `InvalidInput` when it is no usable public key.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    private = X25519PrivateKey.generate()
    ephemeral = private.public_key().public_bytes_raw()
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(recipient))
    except ValueError as error:
        raise InvalidInput("the public key is none that anything can be wrapped for; make another one") from error
    fields = _new(slot, repository_id, RECOVERY, label)
    fields |= {"ephemeral": ephemeral.hex(), "recipient": recipient.hex()}
    return _wrap(fields, secret, shared, ephemeral + recipient)


def _new(slot: str, repository_id: str, kind: str, label: str) -> dict[str, Any]:
    if len(label) > _LONGEST_LABEL or not label.isprintable():
        raise InvalidInput(f"a label has at most {_LONGEST_LABEL} printable characters")
    return {
        "backy": "key slot",
        "repository": repository_id,
        "slot": slot,
        "kind": kind,
        "label": label,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _wrap(fields: dict[str, Any], secret: bytes, input_key: bytes, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key, commitment = _derived(input_key, salt)
    nonce = os.urandom(12)
    fields |= {"nonce": nonce.hex(), "commitment": commitment.hex()}
    wrapped = AESGCM(key).encrypt(nonce, secret, _associated(fields))
    return encode_text({**fields, "wrapped": wrapped.hex()})


def _derived(input_key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    from backy_core.encryption.keys import hkdf

    derived = hkdf(input_key, salt, b"backy 1 slot", 64)
    return derived[:32], derived[32:]


def _associated(fields: dict[str, Any]) -> bytes:
    kept = {key: value for key, value in fields.items() if key != "wrapped"}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _bytes(said: Any, length: int) -> bytes:
    found = bytes.fromhex(said)
    if len(found) != length:
        raise ValueError(f"{len(found)} bytes where {length} should be")
    return found
