"""What a stranger's program, written from the format page alone, reads in the store is what was backed up."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from backy_core.errors import BackyError
from backy_core.recovery import rebuild_repository, restore_from_store
from backy_core.reports import ignore_progress
from backy_core.repository import Repository

BLOCK = 4096
PASSPHRASE = "correct hörse battery"
QUICK = 64 * 1024 * 1024
READER = Path(__file__).parents[1] / "independent_reader.py"

# Two repositories that the product made in the first days of the format: of vm-1 a first and a second version. They are
# never made anew: a change that cannot read them is a change of the format.
GOLDEN = Path(__file__).parents[1] / "data" / "golden"
GOLDEN_VERSIONS = {
    "plain": ("f40144a7566db307", "26f521b111fbef56"),
    "encrypted": ("ff0e7a5a2faa3363", "c6b9109925780c26"),
}
GOLDEN_CODE = "4D4P 3RP5 JQZY Y4WY G572 5KEG F4BJ 4TGH 3SHP ODXG MPOR 5Z6P I4VV HLIY UW76 DMFO"


def golden_content(which: int) -> bytes:
    """What the first or the second golden version gives back: text, a hole, noise and an odd end."""
    return (b"golden " * 100).ljust(2 * BLOCK, b"\0") + hashlib.shake_256(b"golden %d" % which).digest(512) + b"end"


def reader(store: Path, *arguments: str, **secrets: str) -> subprocess.CompletedProcess[str]:
    """Run the stranger's program."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BACKY_")}
    return subprocess.run(
        [sys.executable, "-I", "-W", "error", str(READER), str(store), *arguments],
        env=environment | {f"BACKY_{name}": value for name, value in secrets.items()},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def listed(store: Path, **secrets: str) -> dict[str, dict[str, Any]]:
    ended = reader(store, "list", **secrets)
    assert not ended.returncode, ended.stderr
    return {says["uid"]: says for says in map(json.loads, ended.stdout.splitlines())}


def restored(store: Path, uid: str, **secrets: str) -> bytes:
    image = store.parent / "stranger.img"
    image.unlink(missing_ok=True)
    ended = reader(store, "restore", uid, str(image), **secrets)
    assert not ended.returncode, ended.stderr
    return image.read_bytes()


def refusals(store: Path, *uids: str, **secrets: str) -> list[str]:
    """What the reader refuses when it is to list the versions, and to restore these."""
    reasons = []
    image = store.parent / "refused.img"
    for arguments in (["list"], *(["restore", uid, str(image)] for uid in uids)):
        ended = reader(store, *arguments, **secrets)
        if ended.returncode:
            assert ended.returncode == 1
            assert ended.stderr.startswith("refused: "), ended.stderr
            assert not image.exists()
            reasons.append(ended.stderr)
        image.unlink(missing_ok=True)
    return reasons


def golden(tmp_path: Path, name: str) -> Path:
    """A copy of a golden store."""
    return Path(shutil.copytree(GOLDEN / name, tmp_path / "store"))


def code_for(name: str) -> dict[str, str]:
    return {"RECOVERY_CODE": GOLDEN_CODE} if name == "encrypted" else {}


def test_the_reader_shares_nothing_with_the_product() -> None:
    imported = set()
    for node in ast.walk(ast.parse(READER.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            imported.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Name):
            assert node.id not in ("__import__", "exec", "eval")
    assert imported - sys.stdlib_module_names == {"blake3", "cryptography", "zstandard"}
    assert "importlib" not in imported


def lived(where: Path, hash_name: str, passphrase: str | None) -> dict[str, bytes]:
    """Back a changing volume up, to two compressions and as two hosts, and lose the database.

    Blocks become holes, sizes are odd, shrink and grow. In an encrypted repository the second host has the write key.
    """
    settings, image = where / "repository.toml", where / "disk.img"
    Repository.create(
        str(settings),
        store=str(where / "store"),
        metadata=f"sqlite://{where / 'db' / 'metadata.sqlite'}",
        block_size=BLOCK,
        hash_name=hash_name,
        passphrase=passphrase,
        kdf_memory=QUICK if passphrase else None,
    ).close()
    if passphrase:
        with Repository.open(str(settings), passphrase=passphrase) as repository:
            repository.keys.save_write_key(where / "write.key")
    rng = random.Random(hash_name)
    data = bytearray(rng.randbytes(7 * BLOCK) + bytes(2 * BLOCK) + rng.randbytes(21 * BLOCK + 17))
    expected = {}
    for host in (1, 2):
        with Repository.open(str(settings), passphrase=passphrase if host == 1 else None) as repository:
            for step in range(4):
                if step == 2:
                    del data[20 * BLOCK + 1000 :]
                elif step == 3:
                    data += bytes(5 * BLOCK) + rng.randbytes(5 * BLOCK - 3)
                for content in (bytes(BLOCK), b"text" * (BLOCK // 4), rng.randbytes(BLOCK)):
                    at = rng.randrange(len(data) // BLOCK) * BLOCK
                    data[at : at + BLOCK] = content
                image.write_bytes(data)
                version = repository.backup(str(image), "vm-1", tags=["b_daily"] if step else [])
                expected[version.version.uid] = bytes(data)
            image.write_bytes(b"")
            expected[repository.backup(str(image), f"empty-{host}").version.uid] = b""
            for serial in range(10):
                repository.tag(["vm-1"], add=[f"tag{serial}"], remove=["b_daily", f"tag{serial - 1}"])
            repository.protect(["vm-1"], reason="gründlich", by="me")
        text = settings.read_text().replace('compression = "zstd:1"', 'compression = "none"')
        settings.write_text(text.replace("# write_key = ", f'write_key = "{where / "write.key"}" # '))
    shutil.rmtree(where / "db")
    return expected


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["plain", "encrypted"])
@pytest.mark.parametrize("hash_name", ["sha256", "sha512", "blake2b", "blake3"])
def test_every_version_is_restored_from_the_store_alone(
    home: Path, tmp_path: Path, hash_name: str, passphrase: str | None
) -> None:
    store, expected = tmp_path / "store", lived(tmp_path, hash_name, passphrase)
    secrets = {"PASSPHRASE": passphrase} if passphrase else {}
    versions = listed(store, **secrets)
    assert versions.keys() == expected.keys()
    for uid, content in expected.items():
        assert versions[uid]["size"] == len(content)
        assert restored(store, uid, **secrets) == content

    chain = sorted((one for one in versions.values() if one["volume"] == "vm-1"), key=lambda one: one["birth"])
    assert [one["previous"] for one in chain] == [None, *(one["digest"] for one in chain[:-1])]
    known: set[str] = set()
    merged = 0
    for one in chain:
        new = [part for part in one["segments"] if part["pieces"] and part["pieces"][0][0] not in known]
        merged += known != set() and any(part["entries"] > one["statistics"]["changed_blocks"] for part in new)
        known |= {part["pieces"][0][0] for part in new}
    assert merged
    for one in (chain[3], chain[7]):
        assert max(int(path.suffix[1:]) for path in store.glob(f"a/{one['uid']}.*")) == 11
        assert one["attributes"]["tags"] == ["tag9"]
        assert one["attributes"]["protected"] == {"reason": "gründlich", "by": "me", "until": None}
    assert chain[2]["attributes"] == {"tags": ["b_daily"], "protected": None, "expires": None}

    heads = [path.read_bytes()[:8] for kind in "cmva" for path in store.glob(f"{kind}/**/*") if path.is_file()]
    if passphrase:
        assert {(chr(head[5]), head[7]) for head in heads} == {(kind, seal) for kind in "cmva" for seal in (1, 2)}
    else:
        assert {(chr(head[5]), head[6]) for head in heads} >= {("c", 0), ("c", 1), ("v", 0), ("v", 1)}


@pytest.mark.parametrize("name", ["plain", "encrypted"])
@pytest.mark.parametrize("which", [1, 2])
def test_golden_repositories_are_read_for_ever(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, which: int
) -> None:
    store, uid = golden(tmp_path, name), GOLDEN_VERSIONS[name][which - 1]
    secrets = {"PASSPHRASE": PASSPHRASE} if name == "encrypted" else {}
    assert restored(store, uid, **secrets) == golden_content(which)
    told = {uid: (one["volume"], one["birth"]) for uid, one in listed(store, **secrets).items()}
    assert told == {GOLDEN_VERSIONS[name][0]: ("vm-1", 1), GOLDEN_VERSIONS[name][1]: ("vm-1", 2)}
    monkeypatch.setenv("BACKY_PASSPHRASE", PASSPHRASE)
    assert by_the_product(tmp_path, uid) == golden_content(which)


def by_the_product(tmp_path: Path, uid: str) -> bytes:
    """What the product restores from the store alone; it raises, or reports no damage."""
    target = tmp_path / "product.img"
    report = restore_from_store(
        str(tmp_path / "none.toml"),
        uid,
        str(target),
        store=f"file://{tmp_path / 'store'}",
        force=False,
        ask=None,
        progress=ignore_progress,
    )
    assert not report.damage
    return target.read_bytes()


@pytest.mark.parametrize(
    "secrets",
    [
        {"PASSPHRASE": unicodedata.normalize("NFD", PASSPHRASE)},
        {"PASSPHRASE_FILE": "passphrase"},
        {"RECOVERY_CODE": GOLDEN_CODE},
        {"RECOVERY_CODE": GOLDEN_CODE.lower().replace(" ", "-")},
    ],
    ids=["nfd", "file", "code", "code-as-typed"],
)
def test_each_secret_opens(tmp_path: Path, secrets: dict[str, str]) -> None:
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n", "utf-8")
    if "PASSPHRASE_FILE" in secrets:
        secrets = {"PASSPHRASE_FILE": str(tmp_path / "passphrase")}
    store = golden(tmp_path, "encrypted")
    assert restored(store, GOLDEN_VERSIONS["encrypted"][0], **secrets) == golden_content(1)


def test_a_new_sheet_and_a_recovery_key_open(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = golden(tmp_path, "encrypted")
    settings, private = str(tmp_path / "repository.toml"), X25519PrivateKey.generate()
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "escrow.pem").write_bytes(private.private_bytes(*form))
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "escrow.pem.pub").write_bytes(public)
    monkeypatch.setenv("BACKY_PASSPHRASE", PASSPHRASE)
    rebuild_repository(
        settings,
        store=f"file://{store}",
        metadata=f"sqlite://{tmp_path / 'metadata.sqlite'}",
        dooms_orphans=False,
        ask=None,
        progress=ignore_progress,
    )
    with Repository.open(settings, passphrase=PASSPHRASE) as repository:
        sheet = repository.keys.sheet("text")
        repository.keys.add_recovery(tmp_path / "escrow.pem.pub")
    code = " ".join(re.findall(r"\b[A-Z2-7]{4}\b", sheet)[:16])
    assert code == GOLDEN_CODE
    uid = GOLDEN_VERSIONS["encrypted"][1]
    assert restored(store, uid, RECOVERY_KEY=str(tmp_path / "escrow.pem")) == golden_content(2)
    assert restored(store, uid, PASSPHRASE=PASSPHRASE) == golden_content(2)


@pytest.mark.parametrize(
    "secrets",
    [{}, {"PASSPHRASE": PASSPHRASE + " "}, {"RECOVERY_CODE": "A" + GOLDEN_CODE[1:]}, {"RECOVERY_CODE": "ABCD"}],
)
def test_other_secrets_open_nothing(tmp_path: Path, secrets: dict[str, str]) -> None:
    store = golden(tmp_path, "encrypted")
    assert len(refusals(store, *GOLDEN_VERSIONS["encrypted"], **secrets)) == 3


@pytest.mark.parametrize("place", [0.0, 0.001, 0.3, 0.6, 1.0])
@pytest.mark.parametrize(
    ("name", "kind"),
    [("plain", kind) for kind in ("config", "gens", "c", "m", "v", "a")]
    + [("encrypted", kind) for kind in ("config", "keys", "gens", "c", "m", "v", "a")],
)
def test_one_flipped_bit_in_any_object_is_refused(tmp_path: Path, name: str, kind: str, place: float) -> None:
    store = golden(tmp_path, name)
    secrets = {"PASSPHRASE": PASSPHRASE} if kind == "keys" else code_for(name)
    paths = [store / "config"] if kind == "config" else sorted(p for p in store.glob(f"{kind}/**/*") if p.is_file())
    path = paths[0]
    content = bytearray(path.read_bytes())
    content[round(place * (len(content) - 1))] ^= 1 << int(place * 7)
    path.write_bytes(content)
    reasons = refusals(store, *GOLDEN_VERSIONS[name], **secrets)
    assert reasons
    assert len(reasons) == 3 or kind not in ("config", "keys")
    assert len(reasons) == 1 or kind not in ("gens", "a"), "a restore does without"


@pytest.mark.parametrize("name", ["plain", "encrypted"])
@pytest.mark.parametrize("kind", ["c", "m", "v", "a", "gens"])
def test_an_object_in_anothers_place_or_cut_short_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    store = golden(tmp_path, name)
    path = next(path for path in sorted(store.glob(f"{kind}/**/*")) if path.is_file())
    whole = path.read_bytes()
    other = next(one for one in sorted(store.glob("[cmvag]*/**/*")) if one.is_file() and one.read_bytes() != whole)
    twin = next((one for one in sorted(store.glob(f"{kind}/**/*")) if one.is_file() and one != path), other)
    for content in (other.read_bytes(), twin.read_bytes(), whole[: len(whole) // 2], whole[:-1], whole + b"\0", b""):
        path.write_bytes(content)
        assert refusals(store, *GOLDEN_VERSIONS[name], **code_for(name)), content[:16]


@pytest.mark.parametrize("name", ["plain", "encrypted"])
@pytest.mark.parametrize("nonce", ["0" * 16, "f" * 16])
def test_of_two_objects_with_one_digest_the_one_that_verifies_is_taken(tmp_path: Path, name: str, nonce: str) -> None:
    store = golden(tmp_path, name)
    for path in [path for path in store.glob("[cm]/**/*") if path.is_file()]:
        path.with_name(path.name[:-16] + nonce).write_bytes(b"damaged" * 20)
    for which, uid in enumerate(GOLDEN_VERSIONS[name], 1):
        assert restored(store, uid, **code_for(name)) == golden_content(which)


def test_an_encrypted_repository_takes_nothing_that_is_not_sealed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, uid = golden(tmp_path, "encrypted"), GOLDEN_VERSIONS["encrypted"][0]
    manifest = json.dumps(listed(store, **code_for("encrypted"))[uid] | {"segments": []}).encode()
    head = b"BK\x59\x1a\x01v\x00\x00" + struct.pack("<Q", len(manifest))
    (store / "v" / uid).write_bytes(head + hashlib.sha256(head + manifest).digest()[:16] + manifest)
    assert "seal 0" in refusals(store, uid, **code_for("encrypted"))[1]
    monkeypatch.setenv("BACKY_PASSPHRASE", PASSPHRASE)
    with pytest.raises(BackyError):
        by_the_product(tmp_path, uid)


def test_an_image_that_is_there_is_left_alone(tmp_path: Path) -> None:
    store = golden(tmp_path, "plain")
    (tmp_path / "there.img").write_bytes(b"mine")
    ended = reader(store, "restore", GOLDEN_VERSIONS["plain"][0], str(tmp_path / "there.img"))
    assert ended.returncode == 1
    assert (tmp_path / "there.img").read_bytes() == b"mine"
