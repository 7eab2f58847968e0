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


# RFC 4231, test cases 1 to 4 and 6: key, data, HMAC-SHA-256, HMAC-SHA-512.
RFC_4231 = [
    (
        b"\x0b" * 20,
        b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        (
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
            "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"
        ),
    ),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        (
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
            "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        ),
    ),
    (
        b"\xaa" * 20,
        b"\xdd" * 50,
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        (
            "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39"
            "bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb"
        ),
    ),
    (
        bytes(range(1, 26)),
        b"\xcd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        (
            "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3db"
            "a91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd"
        ),
    ),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        (
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352"
            "6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"
        ),
    ),
]


@pytest.mark.parametrize(("key", "data", "sha256", "sha512"), RFC_4231)
def test_sha_is_keyed_by_hmac_as_the_standard_has_it(key: bytes, data: bytes, sha256: str, sha512: str) -> None:
    for name, wanted in (("sha256", sha256), ("sha512", sha512)):
        found = new_hash(name)
        assert found is not None
        assert found.keyed(key).digest(data).hex() == wanted


def test_blake2b_is_keyed_as_rfc_7693_has_it() -> None:
    found = new_hash("blake2b")
    assert found is not None
    key = bytes(range(32))
    assert found.keyed(key).digest(b"abc").hex() == blake2b(b"abc", key, 32).hex()
    assert found.keyed(key).digest(bytes(1000)).hex() == blake2b(bytes(1000), key, 32).hex()
    assert found.digest(b"abc").hex() == blake2b(b"abc", b"", 32).hex()


def blake2b(data: bytes, key: bytes, length: int) -> bytes:
    """BLAKE2b in plain Python, from the pseudocode of RFC 7693."""
    mask = 2**64 - 1
    start = [
        *(0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1),
        *(0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179),
    ]
    sigma = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    ]
    lanes = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
    lanes += [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    state = list(start)
    state[0] ^= 0x01010000 ^ (len(key) << 8) ^ length
    whole = (key.ljust(128, b"\0") if key else b"") + data
    blocks = [whole[place : place + 128] for place in range(0, len(whole), 128)] or [b""]
    counted = 0
    for number, block in enumerate(blocks):
        counted += len(block)
        words = [int.from_bytes(block.ljust(128, b"\0")[8 * i : 8 * i + 8], "little") for i in range(16)]
        v = state + start
        v[12] ^= counted & mask
        if number == len(blocks) - 1:
            v[14] ^= mask
        for turn in range(12):
            order = sigma[turn % 10]
            for i, (a, b, c, d) in enumerate(lanes):
                for word, first, second in ((words[order[2 * i]], 32, 24), (words[order[2 * i + 1]], 16, 63)):
                    v[a] = (v[a] + v[b] + word) & mask
                    v[d] = _turned(v[d] ^ v[a], first)
                    v[c] = (v[c] + v[d]) & mask
                    v[b] = _turned(v[b] ^ v[c], second)
        state = [old ^ v[i] ^ v[i + 8] for i, old in enumerate(state)]
    return b"".join(word.to_bytes(8, "little") for word in state)[:length]


def _turned(word: int, by: int) -> int:
    return (word >> by | word << (64 - by)) & (2**64 - 1)


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
