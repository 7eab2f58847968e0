"""Lists and restores the versions in a store of backy without backy: written from docs/format.md alone.

python tests/independent_reader.py STORE list                one JSON object for each version
python tests/independent_reader.py STORE restore UID IMAGE   all that verifies, or no IMAGE

STORE is a directory. What opens an encrypted repository is in the environment: the passphrase in BACKY_PASSPHRASE
or the file BACKY_PASSPHRASE_FILE, the code of a recovery sheet in BACKY_RECOVERY_CODE, a recovery key (PEM) in the
file BACKY_RECOVERY_KEY. What does not verify is refused, with exit code 1 and the reason.
"""

import base64
import hashlib
import hmac
import json
import os
import struct
import sys
import unicodedata
from pathlib import Path

import blake3
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key

KIB, MIB = 1024, 1024**2
BROKEN = (InvalidTag, zstandard.ZstdError, struct.error, OSError, ValueError, LookupError, TypeError)


def need(fits, what):
    if not fits:
        raise ValueError(what)


def first(names, read, what):
    """What the first of some objects says that can be read."""
    reasons = []
    for name in names:
        try:
            return read(name)
        except BROKEN as reason:
            reasons.append(f"{name}: {reason!r}")
    raise ValueError("; ".join([f"{what}: none that verifies", *reasons]))


def expand(key, salt, info, length=32):
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(key)


class Store:
    """The objects in a directory, and the keys that open them."""

    def __init__(self, root):
        self.root, self.repository = Path(root), None
        config = self.text("config", "repository")
        need(config["format"] == 1 and config["encryption"] in (None, "aes-256-gcm"), "config: unknown format")
        self.repository, self.hash = config["repository"].encode(), config["hash"]
        self.encrypted, self.digest_key = config["encryption"] is not None, None
        if self.encrypted:
            code = os.environ.get("BACKY_RECOVERY_CODE")
            self.master = self.sheet(code) if code else first(self.names("keys/*"), self.slot, "key slots")
            self.digest_key = self.derived("digest")

    def names(self, pattern):
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))

    def text(self, name, what):
        raw = (self.root / name).read_bytes()
        body, last = raw[:-72], raw[-72:]
        need(last == b"sha256 %s\n" % hashlib.sha256(body).hexdigest().encode(), f"{name}: its sum does not fit")
        says = json.loads(body)
        need(len(raw) <= 64 * KIB and says["backy"] == what, f"{name}: not a {what}")
        need(self.repository in (None, str(says["repository"]).encode()), f"{name}: of another repository")
        return says

    def sheet(self, code):
        raw = base64.b32decode("".join(code.split()).replace("-", "").upper())
        proof = hashlib.sha256(b"backy sheet\n" + self.repository + b"\n" + raw[:32]).digest()[:8]
        need(raw[32:] == proof, "the recovery code is mistyped, or of another repository")
        return raw[:32]

    def slot(self, name):
        says = self.text(name, "key slot")
        need(name == f"keys/{says['slot']}" and says["kind"] in ("passphrase", "recovery"), "not this slot")
        if says["kind"] == "passphrase":
            file, kdf = os.environ.get("BACKY_PASSPHRASE_FILE"), says["kdf"]
            secret = Path(file).read_text("utf-8").rstrip("\r\n") if file else os.environ["BACKY_PASSPHRASE"]
            salt, memory, passes, lanes = bytes.fromhex(kdf["salt"]), kdf["memory_kib"], kdf["iterations"], kdf["lanes"]
            need(kdf["name"] == "argon2id" and memory <= MIB and passes <= 16 and lanes <= 16, "too costly a kdf")
            stretched = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
            key = stretched.derive(unicodedata.normalize("NFC", secret).encode())
        else:
            private = load_pem_private_key(Path(os.environ["BACKY_RECOVERY_KEY"]).read_bytes(), None)
            salt = bytes.fromhex(says["ephemeral"] + says["recipient"])
            key = private.exchange(X25519PublicKey.from_public_bytes(salt[:32]))
        keys = expand(key, salt, b"backy 1 slot", 64)
        need(keys[32:] == bytes.fromhex(says["commitment"]), "not made with this secret")
        wrapped = bytes.fromhex(says.pop("wrapped"))
        associated = json.dumps(says, sort_keys=True, separators=(",", ":")).encode()
        return AESGCM(keys[:32]).decrypt(bytes.fromhex(says["nonce"]), wrapped, associated)

    def derived(self, purpose):
        return expand(self.master, self.repository, b"backy 1 " + purpose.encode())

    def digest(self, content, key):
        if self.hash in ("sha256", "sha512"):
            return hmac.digest(key, content, self.hash) if key else hashlib.new(self.hash, content).digest()
        if self.hash == "blake2b":
            return hashlib.blake2b(content, digest_size=32, key=key or b"").digest()
        need(self.hash == "blake3", f"hash {self.hash}: not known")
        return blake3.blake3(content, key=key).digest()

    def content(self, name, limit):
        """The content of an enveloped object, at most `limit` bytes long."""
        raw = (self.root / name).read_bytes()
        magic, version, kind, codec, seal, length = struct.unpack("<4sBcBBQ", raw[:16])
        need((magic, version, kind) == (b"BK\x59\x1a", 1, name[:1].encode()), f"{name}: not its header")
        need(seal in ((1, 2) if self.encrypted else (0,)), f"{name}: seal {seal}")
        if seal:
            need(codec == 0, f"{name}: a codec outside of the seal")
            codec, length, payload = self.unsealed(name, raw, seal, epoch=length)
        else:
            payload = raw[32:]
            need(raw[16:32] == self.digest(raw[:16] + payload, None)[:16], f"{name}: its checksum does not fit")
        need(length <= limit and codec in (0, 1), f"{name}: codec {codec}, {length} bytes")
        if codec == 1:
            need(zstandard.frame_content_size(payload) == length, f"{name}: another length in its frame")
            payload = zstandard.ZstdDecompressor().decompress(payload, allow_extra_data=False)
        need(len(payload) == length, f"{name}: not {length} bytes")
        return payload

    def unsealed(self, name, raw, seal, epoch):
        """Codec, length of the content and payload from below the seal."""
        start, tail = 80 if seal == 1 else 112, self.repository + b"\n" + name.encode()
        need(len(raw) % (32 * KIB) == 0, f"{name}: not padded")
        info = b"backy 1 object\n" + tail
        if seal == 1:
            key = self.derived(f"seal {epoch}")
        else:
            reader = X25519PrivateKey.from_private_bytes(self.derived("reader"))
            key = reader.exchange(X25519PublicKey.from_public_bytes(raw[80:112])) + self.derived("write")
            info += b"\n" + raw[80:112] + reader.public_key().public_bytes_raw()
        keys = expand(key, raw[16:48], info, 76)
        need(keys[44:] == raw[48:80], f"{name}: the commitment does not fit")
        plain = AESGCM(keys[:32]).decrypt(keys[32:44], raw[start:], raw[:start] + tail)
        codec, zeros, length, size = struct.unpack("<B7sQQ", plain[:24])
        need(not any(zeros) and 24 + size <= len(plain) and not any(plain[24 + size :]), f"{name}: not padded by zeros")
        return codec, length, plain[24 : 24 + size]

    def found(self, folder, digest, limit):
        """The content that has a digest (hex): whichever object verifies is right."""

        def read(name):
            content = self.content(name, limit)
            need(self.digest(content, self.digest_key).hex() == digest, "another digest")
            return content

        return first(self.names(f"{folder}/{digest}-*"), read, f"{folder}/{digest}")

    def manifest(self, uid):
        """The manifest, and `digest`: what the next manifest of its lineage calls `previous`."""
        content = self.content(f"v/{uid}", 64 * MIB)
        says = json.loads(content)
        need((says["backy"], says["uid"]) == ("manifest", uid), f"v/{uid}: not the manifest of this version")
        return says | {"digest": self.digest(content, self.digest_key).hex()}

    def attributes(self, uid):
        """The newest attributes, when there are any beside those in the manifest."""
        serial = max((int(name.partition(".")[2]) for name in self.names(f"a/{uid}.*")), default=None)
        if serial is None:
            return {}
        says = json.loads(self.content(f"a/{uid}.{serial}", MIB))
        told = [says.pop(field) for field in ("backy", "uid", "serial")]
        need(told == ["attributes", uid, serial], f"a/{uid}.{serial}: not these attributes")
        return {"attributes": says}

    def block_map(self, manifest):
        """The digest (hex) of each block; None, or no entry, for a hole."""
        blocks, width, found = -(-manifest["size"] // manifest["block_size"]), len(self.digest(b"", None)), {}
        need(len(manifest["segments"]) <= 10, "too many segments")
        for segment in manifest["segments"]:
            end = entries = 0
            for digest, begin in segment["pieces"]:
                piece = self.found("m", digest, 8 * MIB)
                need(piece[:8] == struct.pack("<Q", begin), f"m/{digest}: does not begin at block {begin}")
                while piece:
                    index, count, kind = struct.unpack("<QIB", piece[:13])
                    digests, piece = piece[13 : 13 + count * width * kind], piece[13 + count * width * kind :]
                    need(index >= end and kind in (0, 1), f"m/{digest}: not an ascending row of runs")
                    need(len(digests) == count * width * kind, f"m/{digest}: cut short")
                    for at in range(min(count, max(0, blocks - index))):
                        found[index + at] = digests[at * width : (at + 1) * width].hex() if kind else None
                    end, entries = index + count, entries + count
            need(entries == segment["entries"], f"{entries} entries in a segment of {segment['entries']}")
        return found

    def restore(self, uid, image):
        need(not image.exists(), f"{image}: exists")
        manifest = self.manifest(uid)
        size, block_size = manifest["size"], manifest["block_size"]
        partial = image.with_name(f"{image.name}.partial")
        with partial.open("wb") as target:
            target.truncate(size)
            for index, digest in self.block_map(manifest).items():
                if digest:
                    length = min(block_size, size - index * block_size)
                    content = self.found(f"c/{digest[:2]}", digest, length)
                    need(len(content) == length, f"c/{digest}: not as long as block {index}")
                    target.seek(index * block_size)
                    target.write(content)
        partial.rename(image)


def main(root, command, *arguments):
    store = Store(root)
    if command == "restore":
        store.restore(arguments[0], Path(arguments[1]))
        return
    for name in store.names("gens/*"):
        need(name == f"gens/{store.text(name, 'generation')['generation']:012}", f"{name}: another generation")
    for name in store.names("v/*"):
        sys.stdout.write(json.dumps(store.manifest(name[2:]) | store.attributes(name[2:])) + "\n")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BROKEN as reason:
        sys.exit(f"refused: {reason!r}")
