"""The hashes of hashlib: the contract suite, and the examples of the standards."""

from __future__ import annotations

import pytest

from backy_core.builtin.hashes import new_hash
from backy_core.contracts.hash import Hash
from backy_core.testing.hash import HashConformance

# FIPS 180-4 examples (one block, two blocks, a million letters a) and, for blake2b of 32 bytes, the reference
# implementation's answers for the same inputs.
TWO_BLOCKS_256 = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
TWO_BLOCKS_512 = (
    b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"
)
MILLION = b"a" * 1_000_000
KNOWN = [
    ("sha256", b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ("sha256", TWO_BLOCKS_256, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
    ("sha256", MILLION, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    (
        "sha512",
        b"abc",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        ),
    ),
    (
        "sha512",
        TWO_BLOCKS_512,
        (
            "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018"
            "501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909"
        ),
    ),
    (
        "sha512",
        MILLION,
        (
            "e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973eb"
            "de0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b"
        ),
    ),
    ("blake2b", b"", "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8"),
    ("blake2b", b"abc", "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"),
]


@pytest.mark.parametrize(("name", "data", "wanted"), KNOWN)
def test_known_inputs_have_known_digests(name: str, data: bytes, wanted: str) -> None:
    found = new_hash(name)
    assert found is not None
    assert found.digest(data).hex() == wanted


def test_other_names_are_left_to_other_plugins() -> None:
    assert new_hash("md5") is None
    assert new_hash("SHA512") is None
    assert new_hash("") is None


class TestHashlib(HashConformance):
    @pytest.fixture(params=["sha512", "sha256", "blake2b"])
    def hash_function(self, request: pytest.FixtureRequest) -> Hash:
        found = new_hash(request.param)
        assert found is not None
        assert found.name == request.param
        return found
