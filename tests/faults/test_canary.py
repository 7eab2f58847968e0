"""A canary in an encrypted repository: what must not be seen is looked for in all that commands leave behind."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
from blake3 import blake3

BLOCK = 4096
CONTENT = b"canary content 3b8e61 " * (BLOCK // 22) + b"and a bit more than one block"
KNOWN = CONTENT[:BLOCK]
"""A block that whoever operates the store may know, and look for by its digest."""

SEEN = {
    "volume": b"canary-volume-5d20",
    "content": b"canary content 3b8e61",
    "tag": b"canary-tag-91f7",
    "reason": b"canary reason c44a",
    "source": b"canary-disk-0e6f.img",
}
PASSPHRASE, OTHER, NEXT = "canary passphrase b2d9", "canary other 77e1", "canary next 20c5"
DIGESTS = {
    "sha256": hashlib.sha256(KNOWN).digest(),
    "sha512": hashlib.sha512(KNOWN).digest(),
    "blake2b": hashlib.blake2b(KNOWN, digest_size=32).digest(),
    "blake3": blake3(KNOWN).digest(),
}


class Witness:
    """Runs commands, and keeps all that they print and the command lines of the processes that they are."""

    def __init__(self, place: SimpleNamespace) -> None:
        self.place = place
        self.said: list[str] = []
        self.lines: set[bytes] = set()

    def run(self, *arguments: str, code: int = 0, secret: str | None = None) -> str:
        if secret is not None:
            self.place.environment["BACKY_PASSPHRASE"] = secret
        try:
            process = self.place.start(*arguments, "--debug", "-v")
        finally:
            self.place.environment.pop("BACKY_PASSPHRASE", None)
        self.lines |= command_lines(process.pid)
        while True:
            try:
                out, err = process.communicate(timeout=0.05)
                break
            except Exception as error:
                if type(error).__name__ != "TimeoutExpired":
                    raise
                self.lines |= command_lines(process.pid)
        self.said += [out, err]
        assert process.returncode == code, (arguments, process.returncode, err)
        return str(out)


def command_lines(pid: int) -> set[bytes]:
    """The command lines of a process and of all that it has started."""
    found: set[bytes] = set()
    try:
        found.add(Path(f"/proc/{pid}/cmdline").read_bytes())
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found |= command_lines(int(child))
                # What it hands on is nobody's but its own.
                found.add(Path(f"/proc/{child}/environ").read_bytes())
    except OSError:
        pass  # it has ended
    return found


def stored(store: Path, wanted: Iterable[bytes]) -> set[bytes]:
    """Which of these are in the names or the bytes of the objects, as they are or in hex."""
    found: set[bytes] = set()
    for path in store.rglob("*"):
        name = str(path.relative_to(store)).encode()
        data = name + b"\n" + (path.read_bytes() if path.is_file() else b"")
        found |= {one for one in wanted if one in data or one.hex().encode() in data}
    return found


def image_of(place: SimpleNamespace) -> Path:
    image: Path = place.base / SEEN["source"].decode()
    image.write_bytes(KNOWN + bytes(BLOCK) + CONTENT[:100] * 90)
    return image


@pytest.mark.parametrize("hash_name", DIGESTS)
def test_the_search_finds_the_canary_where_nothing_is_encrypted(place: SimpleNamespace, hash_name: str) -> None:
    place.init("--block-size", str(BLOCK), "--hash", hash_name, "--compression", "none")
    volume = SEEN["volume"].decode()
    assert place.run("backup", str(image_of(place)), volume, "--tag", SEEN["tag"].decode()).code == 0
    assert place.run("protect", volume, "--reason", SEEN["reason"].decode()).code == 0
    found = stored(place.base / "store", [*SEEN.values(), *DIGESTS.values()])
    assert found == {*SEEN.values(), DIGESTS[hash_name]}


@pytest.mark.parametrize("hash_name", ["sha256", "sha512", "blake2b"])
def test_no_plain_digest_lies_in_an_encrypted_store(place: SimpleNamespace, hash_name: str) -> None:
    (place.base / "secret").write_text(PASSPHRASE)
    (place.base / "secret").chmod(0o600)
    options = ["--encrypt", "--passphrase-file", str(place.base / "secret"), "--kdf-memory", "64MiB"]
    place.init("--block-size", str(BLOCK), "--hash", hash_name, "--compression", "none", *options)
    place.environment["BACKY_PASSPHRASE"] = PASSPHRASE
    assert place.run("backup", str(image_of(place)), SEEN["volume"].decode()).code == 0
    everything = [*SEEN.values(), *DIGESTS.values(), PASSPHRASE.encode()]
    assert stored(place.base / "store", everything) == set()
    assert stored(place.base, [PASSPHRASE.encode()]) == {PASSPHRASE.encode()}, "in the file that it was given in"
    (place.base / "secret").unlink()
    assert stored(place.base, [PASSPHRASE.encode()]) == set(), "and nowhere else: not in settings, nor the database"


def test_no_command_lets_the_canary_out(place: SimpleNamespace) -> None:
    witness, base = Witness(place), place.base
    run, volume = witness.run, SEEN["volume"].decode()
    secrets = {}
    for name, secret in (("first", PASSPHRASE), ("other", OTHER), ("next", NEXT)):
        secrets[name] = str(base.parent / name)
        Path(secrets[name]).write_text(secret + "\n")
        Path(secrets[name]).chmod(0o600)
    memory = ["--kdf-memory", "64MiB"]
    common = ["--block-size", str(BLOCK), "--compression", "none", "--encrypt", *memory]
    metadata = f"sqlite://{base}/metadata.sqlite"
    run("init", "--store", f"{base}/store", "--metadata", metadata, *common, "--passphrase-file", secrets["first"])
    there = str(base / "there.toml")
    more = ["--store", f"{base}/there", "--metadata", f"sqlite://{base}/there.sqlite", *common]
    run("init", "-R", there, *more, secret=PASSPHRASE)
    image = str(image_of(place))
    run("backup", image, volume, "--tag", SEEN["tag"].decode(), secret=PASSPHRASE)
    Path(image).write_bytes(KNOWN + CONTENT + bytes(BLOCK))
    run("backup", image, volume, secret=PASSPHRASE)
    run("ls")
    run("show", volume)
    run("scrub", secret=PASSPHRASE)
    run("tag", volume, "--add", SEEN["tag"].decode(), secret=PASSPHRASE)
    run("protect", volume, "--reason", SEEN["reason"].decode(), secret=PASSPHRASE)
    run("restore", volume, str(base.parent / "out.img"), secret=PASSPHRASE)
    run("copy", "--to", there, secret=PASSPHRASE)
    run("check-database", secret=PASSPHRASE)
    run("reconcile", secret=PASSPHRASE)
    run("key", "list")
    run("key", "add", "--label", "deputy", "--new-passphrase-file", secrets["other"], *memory, secret=PASSPHRASE)
    run("key", "passphrase", "--new-passphrase-file", secrets["next"], *memory, secret=PASSPHRASE)
    run("key", "export", "--write-only", str(base.parent / "write.key"), secret=NEXT)
    # What goes wrong, each with its traceback.
    run("scrub", secret=PASSPHRASE, code=14)
    run("scrub", secret=PASSPHRASE + "x", code=14)
    run("scrub", code=14)
    run("rm", volume, secret=NEXT, code=15)
    slots = {slot["label"]: slot["slot"] for slot in json.loads(run("key", "list", "--json"))["slots"]}
    for damaged, usable, code in (
        (slots["deputy"], NEXT, 20),
        (next(iter(set(slots.values()) - {slots["deputy"]})), NEXT, 14),
    ):
        path = base / "store" / "keys" / damaged
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b'"wrapped": "', b'"wrapped": "0', 1))
        run("scrub", secret=usable, code=code)
        path.write_bytes(whole)
    for kind, code in (("v", 20), ("m", 20), ("c", 20)):
        path = next(one for one in sorted((base / "store" / kind).rglob("*")) if one.is_file())
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        run("scrub", secret=NEXT, code=code)
        path.write_bytes(whole)
    run("scrub", secret=NEXT)
    for path in base.glob("metadata.sqlite*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run("restore", "--from-store", volume, str(base.parent / "again.img"), secret=NEXT)
    run("rebuild", secret=NEXT)
    run("unprotect", volume, secret=NEXT)
    run("rm", volume, secret=NEXT)
    run("cleanup", secret=NEXT)

    passphrases = [secret.encode() for secret in (PASSPHRASE, OTHER, NEXT)]
    everything = [*SEEN.values(), *DIGESTS.values(), *passphrases]
    for store in ("store", "there"):
        assert any((base / store / "v").iterdir())
        assert stored(base / store, everything) == set()
    assert stored(base, passphrases) == set(), "not in the settings, the database, or anything left beside them"
    said = "".join(witness.said).encode()
    assert b"Traceback" in said, "errors were seen in full"
    assert SEEN["volume"] in said, "what was said is what is searched"
    assert [one for one in passphrases if one in said] == []
    assert any(SEEN["volume"] in line for line in witness.lines), "command lines were seen"
    assert [one for one in passphrases for line in witness.lines if one in line] == []
