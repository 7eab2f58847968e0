"""Recovery sheets, recovery keys and write keys: what is written down can be read back, and mistakes are told."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backy_core.encryption.codes import code_of, parse_code
from backy_core.encryption.keys import MasterKey
from backy_core.encryption.recovery_keys import make_recovery_key, read_private, read_public
from backy_core.encryption.sheets import Sheet, html_sheet, text_sheet
from backy_core.encryption.write_keys import read_write_key, write_key_text
from backy_core.errors import InvalidInput, KeyRefused

REPOSITORY = "11111111-2222-3333-4444-555555555555"
MASTER = MasterKey(REPOSITORY, bytes(range(100, 132)))
SHEET = Sheet("vms & <b>", REPOSITORY, "file:///srv/backup", "2026-11-20")


@given(st.binary(min_size=32, max_size=32))
def test_a_code_means_its_key(secret: bytes) -> None:
    code = code_of(MasterKey(REPOSITORY, secret))
    assert re.fullmatch(r"([A-Z2-7]{4}-){15}[A-Z2-7]{4}", code)
    assert parse_code(code, REPOSITORY).secret() == secret


def test_a_code_may_be_typed_as_one_likes() -> None:
    code = code_of(MASTER)
    for typed in (
        code.lower(),
        code.replace("-", ""),
        code.replace("-", "  "),
        "\n " + code.replace("-", " \u2013 ") + "\t\n",
        code.replace("O", "0").replace("I", "1").replace("B", "8"),
    ):
        assert parse_code(typed, REPOSITORY).secret() == MASTER.secret()


def test_a_mistyped_code_is_told_by_its_checksum_and_not_repeated() -> None:
    letters = code_of(MASTER).replace("-", "")
    for place in range(len(letters)):
        wrong = letters[:place] + ("Q" if letters[place] != "Q" else "R") + letters[place + 1 :]
        with pytest.raises(KeyRefused, match="mistyped") as caught:
            parse_code(wrong, REPOSITORY)
        assert wrong[:8] not in str(caught.value)
    swapped = letters[1] + letters[0] + letters[2:]
    for typed, said in (
        (swapped, "mistyped"),
        (letters[:-4], "has 60 letters, not 64"),
        (letters + "AAAA", "has 68"),
        ("", "has 0"),
        (letters[:-1] + "9", "signs that no code has"),
    ):
        with pytest.raises(KeyRefused, match=said):
            parse_code(typed, REPOSITORY)
    with pytest.raises(KeyRefused, match="or of another repository"):
        parse_code(letters, "another")


def scanned(rows: list[str]) -> str:
    """What a scanner reads from a picture, given as rows of `#` and blanks."""
    import zxingcpp

    scale = 4
    width, height = len(rows[0]) * scale, len(rows) * scale
    pixels = bytearray()
    for row in rows:
        pixels += b"".join((b"\0" if sign == "#" else b"\xff") * scale for sign in row) * scale
    (found,) = zxingcpp.read_barcodes(memoryview(pixels).cast("B", (height, width)))
    return str(found.text)


def of_blocks(text: str) -> list[str]:
    """The picture that block characters in a text make."""
    lines = [line for line in text.splitlines() if set(line) & set("█▀▄")]
    width = max(map(len, lines)) + 4
    halves = {" ": "  ", "█": "##", "▀": "# ", "▄": " #"}
    blank = [" " * width] * 4
    pictured = []
    for line in lines:
        pairs = [halves[sign] for sign in line.ljust(width)]
        pictured += ["".join(pair[0] for pair in pairs), "".join(pair[1] for pair in pairs)]
    return [*blank, *pictured, *blank]


def of_svg(text: str) -> list[str]:
    """The picture that the strokes of a drawing's dark path make."""
    path = next(found for found in re.findall(r'd="(M[^"]+)"', text) if "h" in found and "v" not in found)
    width = int(re.search(r'(?:viewBox="0 0 |width=")(\d+)', text)[1])  # type: ignore[index]
    size = 33 + 8
    assert width % size == 0
    rows = [[" "] * size for _ in range(size)]
    x = y = 0.0
    for word, first, second in re.findall(r"([Mmh])\s*(-?[\d.]+)[ ,]?(-?[\d.]+)?", path):
        if word == "h":
            for column in range(int(x), int(x + float(first))):
                rows[int(y)][column] = "#"
            x += float(first)
        elif word == "M":
            x, y = float(first), float(second)
        else:
            x, y = x + float(first), y + float(second)
    return ["".join(row) for row in rows]


def test_both_sheets_say_all_and_their_qr_code_is_the_code() -> None:
    letters = code_of(MASTER).replace("-", "")
    plain, page = text_sheet(MASTER, SHEET), html_sheet(MASTER, SHEET)
    for word in (REPOSITORY, "file:///srv/backup", "2026-11-20", "recovery_code", *code_of(MASTER).split("-")):
        assert word in plain
        assert word in page
    assert "vms & <b>" in plain
    assert "vms &amp; &lt;b&gt;" in page
    assert "<b>" not in page
    assert not re.search(r"(?:src|href)=|url\(|@import|<script", page), "it loads nothing"
    assert max(map(len, plain.splitlines())) <= 80
    assert scanned(of_blocks(plain)) == letters
    assert scanned(of_svg(page)) == letters


def test_a_recovery_key_is_a_pair_of_files_that_openssl_understands(tmp_path: Path) -> None:
    path = tmp_path / "escrow.pem"
    public = make_recovery_key(path)
    assert public == tmp_path / "escrow.pem.pub"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    derived = subprocess.run(["openssl", "pkey", "-in", path, "-pubout"], check=True, capture_output=True).stdout
    assert derived == public.read_bytes()
    assert read_private(path).public_key().public_bytes_raw() == read_public(public)


def test_a_recovery_key_of_openssl_is_understood(tmp_path: Path) -> None:
    private, public = tmp_path / "key.pem", tmp_path / "pub.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "X25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    assert read_private(private).public_key().public_bytes_raw() == read_public(public)


def test_no_key_file_is_overwritten_and_no_half_pair_left(tmp_path: Path) -> None:
    path = tmp_path / "escrow.pem"
    make_recovery_key(path)
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="not overwritten"):
        make_recovery_key(path)
    path.unlink()
    with pytest.raises(InvalidInput, match="not overwritten"):
        make_recovery_key(path)
    assert not path.exists()
    assert before
    with pytest.raises(InvalidInput, match="No such file"):
        make_recovery_key(tmp_path / "none" / "escrow.pem")


def test_other_files_are_no_recovery_keys(tmp_path: Path) -> None:
    pair = tmp_path / "escrow.pem"
    public = make_recovery_key(pair)
    locked, other, junk = tmp_path / "locked.pem", tmp_path / "ed.pem", tmp_path / "junk"
    subprocess.run(["openssl", "pkey", "-in", pair, "-aes256", "-passout", "pass:hunter22", "-out", locked], check=True)
    subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519", "-out", other], check=True)
    junk.write_bytes(os.urandom(1000))
    for path, said in (
        (locked, "protected by a password"),
        (other, "another kind"),
        (junk, "no X25519 private key"),
        (public, "no X25519 private key"),
        (tmp_path / "none", "No such file"),
        (Path("/dev/zero"), "no X25519 private key"),
    ):
        with pytest.raises(KeyRefused, match=said):
            read_private(path)
    for path in (pair, other, junk, Path("/dev/zero"), tmp_path / "none"):
        with pytest.raises(InvalidInput, match=r"no X25519 public key|cannot read"):
            read_public(path)


def test_a_write_key_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "write.key"
    path.write_bytes(write_key_text(MASTER.write_key()))
    assert read_write_key(path, REPOSITORY).parts() == MASTER.write_key().parts()
    assert MASTER.secret().hex().encode() not in path.read_bytes()
    with pytest.raises(KeyRefused, match="of the repository '11111111"):
        read_write_key(path, "another")
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(KeyRefused, match="is no write key, or damaged"):
            read_write_key(path, REPOSITORY)
    with pytest.raises(KeyRefused, match="cannot read"):
        read_write_key(tmp_path / "none", REPOSITORY)
