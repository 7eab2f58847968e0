"""BLAKE3: the contract suite, and the official test vectors."""

from __future__ import annotations

import subprocess
import sys

import backy_hash_blake3
import pytest

from backy_core.contracts.hash import Hash
from backy_core.testing.hash import HashConformance

# From the file test_vectors.json that the authors of BLAKE3 publish: input length -> first 32 bytes of "hash".
# The input of length n is the bytes 0, 1, ... 250, 0, 1, ... cut to n.
OFFICIAL = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1023: "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
    2048: "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a",
    31744: "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
    102400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
}

# From the same file: input length -> first 32 bytes of "keyed_hash", with the key of the file.
OFFICIAL_KEY = b"whats the Elvish word for friend"
OFFICIAL_KEYED = {
    0: "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
    1: "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
    1023: "c951ecdf03288d0fcc96ee3413563d8a6d3589547f2c2fb36d9786470f1b9d6e",
    1024: "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4",
    1025: "357dc55de0c7e382c900fd6e320acc04146be01db6a8ce7210b7189bd664ea69",
    2048: "879cf1fa2ea0e79126cb1063617a05b6ad9d0b696d0d757cf053439f60a99dd1",
    31744: "efa53b389ab67c593dba624d898d0f7353ab99e4ac9d42302ee64cbf9939a419",
    102400: "1c35d1a5811083fd7119f5d5d1ba027b4d01c0c6c49fb6ff2cf75393ea5db4a7",
}


class TestBlake3(HashConformance):
    @pytest.fixture
    def hash_function(self) -> Hash:
        found = backy_hash_blake3.new_hash("blake3")
        assert found is not None
        return found

    @pytest.mark.parametrize("length", OFFICIAL)
    def test_it_gives_the_official_answers(self, hash_function: Hash, length: int) -> None:
        data = (bytes(range(251)) * (length // 251 + 1))[:length]
        assert hash_function.digest(data).hex() == OFFICIAL[length]

    @pytest.mark.parametrize("length", OFFICIAL_KEYED)
    def test_its_keyed_mode_gives_the_official_answers(self, hash_function: Hash, length: int) -> None:
        data = (bytes(range(251)) * (length // 251 + 1))[:length]
        assert hash_function.keyed(OFFICIAL_KEY).digest(data).hex() == OFFICIAL_KEYED[length]


def test_other_names_are_left_to_other_plugins() -> None:
    assert backy_hash_blake3.new_hash("sha512") is None
    assert backy_hash_blake3.new_hash("BLAKE3") is None


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_library_is_not_imported_before_the_hash_is_asked_for() -> None:
    code = """
import sys
import backy_hash_blake3
before = "blake3" in sys.modules
backy_hash_blake3.new_hash("blake3")
print(before, "blake3" in sys.modules)
"""
    assert run(code) == "False True\n"


def test_without_the_library_the_message_says_what_to_install() -> None:
    code = """
import sys
sys.modules["blake3"] = None  # what Python itself does to forbid an import
import backy_hash_blake3
from backy_core.errors import PluginError
try:
    backy_hash_blake3.new_hash("blake3")
except PluginError as error:
    print(error, isinstance(error.__cause__, ImportError))
"""
    assert run(code) == "the hash blake3 needs the package blake3: pip install blake3 True\n"
