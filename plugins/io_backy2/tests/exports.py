"""Writes exports and blobs as each generation of backy2 does, from the facts of its formats."""

from __future__ import annotations

import csv
import hashlib
import os
import random
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import zstandard
from backy_io_backy2.location import location_of
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

BLOCK = 64 * 1024
KEY = bytes(range(32))
FORMATS = ("2.1", "2.2", "2.10", "2.12")
UID, ID, CHECKSUM, SIZE, VALID, ENC_VERSION, ENC_KEY = 0, 2, 4, 5, 6, 7, 8


@dataclass
class Export:
    """An export that can be changed and saved again, and the folder of its blobs."""

    path: Path
    data: Path
    format: str
    header: list[object]
    rows: list[list[object]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return location_of(str(self.path), str(self.data))

    def blob(self, index: int) -> Path:
        uid = str(self.rows[index][UID])
        return self.data / uid[:2] / uid[2:4] / f"{uid}.blob"

    def save(self) -> Export:
        with self.path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([f"backy2 Version {self.format} metadata dump"])
            writer.writerow(self.header)
            writer.writerows(self.rows)
        return self


def sealed(content: bytes, key: bytes) -> tuple[bytes, str, str]:
    """A blob as backy2 2.12 encrypts it, its wrapped key and its nonce."""
    own, nonce = os.urandom(32), os.urandom(16)
    ciphertext = AESGCM(own).encrypt(nonce, zstandard.ZstdCompressor(level=1).compress(content), None)
    return ciphertext[-16:] + nonce + ciphertext[:-16], aes_key_wrap(key, own).hex(), nonce.hex()


def blob_uid() -> str:
    tail = "".join(random.choices("23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", k=22))
    return hashlib.md5(tail.encode()).hexdigest()[:10] + tail


def write(
    folder: Path,
    content: bytes,
    *,
    block: int = BLOCK,
    format: str = "2.2",
    key: bytes | None = None,
    hash: str = "sha512",
    name: str = "vm-1",
    date: str = "2017-10-03 12:34:56",
    expire: str = "",
    sparse: str = "",
) -> Export:
    """Write an export and its blobs. `sparse`: what stands for the uid of a block without a blob."""
    folder.mkdir(exist_ok=True)
    uid = str(uuid.uuid4())
    count = -(-len(content) // block)
    header: list[object] = [uid, date, name, count, len(content), 1]
    if format != "2.1":
        header = [uid, date, name, "a snapshot", count, len(content), 1, 0]
    if format in ("2.10", "2.12"):
        header.append(expire)
    export = Export(folder / f"{uid}.csv", folder / "blobs", format, header)
    export.data.mkdir(exist_ok=True)
    for index in range(count):
        piece = content[index * block : (index + 1) * block]
        row: list[object] = [sparse, uid, index, date, sparse, len(piece), 1]
        extra: list[object] = [0, "", ""] if format == "2.12" else []
        if piece.strip(b"\0"):
            row[UID], row[CHECKSUM] = blob_uid(), hashlib.new(hash, piece).hexdigest()
            stored = piece
            if key is not None:
                stored, wrapped, nonce = sealed(piece, key)
                extra = [1, wrapped, nonce]
        export.rows.append(row + extra)
        if row[UID] != sparse:
            export.blob(index).parent.mkdir(parents=True, exist_ok=True)
            export.blob(index).write_bytes(stored)
    return export.save()
