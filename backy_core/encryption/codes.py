"""The code on a recovery sheet: the master key in letters that a person can type, with a checksum."""

from __future__ import annotations

import base64
import hashlib
import hmac

from backy_core.encryption.keys import KEY_LENGTH, MasterKey
from backy_core.errors import KeyRefused

__all__ = ["code_of", "parse_code"]

_CHECK = 8
_GROUP = 4
_LETTERS = (KEY_LENGTH + _CHECK) * 8 // 5
_ALPHABET = set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
_BETWEEN = "-\u2010\u2011\u2012\u2013\u2014._"
"""Dashes of all lengths, and what else people put between groups."""

_LOOKALIKES = str.maketrans("018", "OIB")
"""Digits that the code never has, and the letters for which they are read."""


def code_of(key: MasterKey) -> str:
    """The code of a master key, in groups of four letters."""
    letters = base64.b32encode(key.secret() + _check(key.repository_id, key.secret())).decode("ascii")
    return "-".join(letters[place : place + _GROUP] for place in range(0, len(letters), _GROUP))


def parse_code(code: str, repository_id: str) -> MasterKey:
    """The master key that a code means, be it typed with or without spaces and dashes, in capitals or not.

    Raises `KeyRefused`, never with anything of the code in it, when it is mistyped or another repository's.
    """
    letters = "".join(sign for sign in code.upper() if sign not in _BETWEEN and not sign.isspace())
    letters = letters.translate(_LOOKALIKES)
    strange = len(set(letters) - _ALPHABET)
    if strange:
        raise KeyRefused("the recovery code has signs that no code has; it is made of the letters A to Z and 2 to 7")
    if len(letters) != _LETTERS:
        raise KeyRefused(f"the recovery code has {len(letters)} letters, not {_LETTERS}; look for a group left out")
    raw = base64.b32decode(letters)
    secret, check = raw[:KEY_LENGTH], raw[KEY_LENGTH:]
    if not hmac.compare_digest(check, _check(repository_id, secret)):
        raise KeyRefused(
            f"the recovery code is mistyped, or of another repository than {repository_id}: its checksum does not fit"
        )
    return MasterKey(repository_id, secret)


def _check(repository_id: str, secret: bytes) -> bytes:
    return hashlib.sha256(f"backy sheet\n{repository_id}\n".encode() + secret).digest()[:_CHECK]
