"""`backy init --encrypt` and `backy key` as an operator meets them: real commands and terminals, no secret let slip."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import Place, fresh_place

PASSPHRASE, SECOND = "canary correct horse", "canary second horse"
QUICK = ("--kdf-memory", "64MiB")


def secrets_in(place: Place, first: str = PASSPHRASE) -> Place:
    """Files with passphrases in the place."""
    for name, passphrase in (("pw", first), ("pw2", SECOND), ("wrong", "canary wrong one")):
        (place.path / name).write_text(passphrase + "\n")
    return place


def encrypted(place: Place) -> Place:
    """The default repository, encrypted."""
    secrets_in(place).do("init", "--encrypt", "--passphrase-file", "pw", *QUICK)
    return place


@pytest.fixture
def vault(place: Place) -> Place:
    """A place with an encrypted repository; nothing gives its passphrase by itself."""
    return encrypted(place)


def slots(place: Place) -> list[dict[str, Any]]:
    found = place.ask("key", "list")["slots"]
    assert isinstance(found, list)
    return found


def test_an_encrypted_repository_is_made_and_says_so(vault: Place) -> None:
    (slot,) = slots(vault)
    assert (slot["kind"], slot["memory"], slot["problem"]) == ("passphrase", 64 * 1024 * 1024, None)
    assert vault.ask("key", "list")["encryption"] == "aes-256-gcm"
    config = next(vault.path.rglob("store/config")).read_text()
    assert '"encryption": "aes-256-gcm"' in config


def test_what_looks_at_the_database_alone_needs_no_key_and_loads_no_cryptography(vault: Place) -> None:
    for arguments in (["ls"], ["key", "list"]):
        assert vault.backy(*arguments).returncode == 0
    code = (
        "import sys\nfrom backy_core.cli.main import run\nassert run(['ls']) == 0\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('cryptography', 'segno')])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=vault.environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.splitlines()[-1] == "[]"


def test_without_a_key_or_with_a_wrong_one_the_exit_code_is_14(vault: Place) -> None:
    ended = vault.backy("key", "export", "sheet.txt")
    assert ended.returncode == 14
    assert "set BACKY_PASSPHRASE" in ended.stderr
    ended = vault.backy("key", "export", "sheet.txt", "--passphrase-file", "wrong")
    assert (ended.returncode, ended.stderr.count("\n")) == (14, 1)
    assert "opens none of the 1 key slots" in ended.stderr
    document = vault.ask("key", "export", "sheet.txt", "--passphrase-file", "wrong", code=14)
    assert document["error"]["kind"] == "key_refused"
    assert not (vault.path / "sheet.txt").exists()


def test_the_life_of_keys(vault: Place) -> None:
    vault.environment["BACKY_PASSPHRASE"] = PASSPHRASE
    (first,) = (slot["slot"] for slot in slots(vault))
    ended = vault.backy("key", "remove", first)
    assert ended.returncode == 15
    assert "last key slot" in ended.stderr
    deputy = vault.ask("key", "add", "--label", "deputy", "--new-passphrase-file", "pw2", *QUICK)["added"]
    vault.do("key", "recovery-key", "escrow.pem")
    escrow = vault.ask("key", "add", "--recovery", "escrow.pem.pub", "--label", "escrow")["added"]
    assert {slot["slot"]: slot["label"] for slot in slots(vault)} == {first: "", deputy: "deputy", escrow: "escrow"}
    assert vault.ask("key", "remove", first[:8], "--passphrase-file", "pw2")["removed"] == first
    assert vault.backy("key", "export", "sheet.html").returncode == 14, "the variable's passphrase opens no more"
    settings = next(vault.path.rglob("default.toml"))
    text = settings.read_text()
    settings.write_text(text.replace("# recovery_key = ", f'recovery_key = "{vault.path}/escrow.pem" # '))
    vault.do("key", "export", "sheet.html")
    code = "".join(re.findall(r"<pre>(.*?)</pre>", (vault.path / "sheet.html").read_text(), re.DOTALL))
    (vault.path / "code").write_text(code.lower())
    settings.write_text(text.replace("# recovery_code = ", f'recovery_code = {{ file = "{vault.path}/code" }} # '))
    changed = vault.ask("key", "passphrase", "--new-passphrase-file", "pw", *QUICK)
    assert changed["removed"] is None
    settings.write_text(text)
    changed = vault.ask("key", "passphrase", "--new-passphrase-file", "pw2", *QUICK)
    assert changed["removed"] is not None
    assert len(slots(vault)) == 3


def test_a_host_with_a_write_key_is_told_what_it_cannot(vault: Place) -> None:
    vault.do("key", "export", "--write-only", "write.key", "--passphrase-file", "pw")
    assert os.stat(vault.path / "write.key").st_mode & 0o777 == 0o600
    settings = next(vault.path.rglob("default.toml"))
    settings.write_text(settings.read_text().replace("# write_key = ", f'write_key = "{vault.path}/write.key" # ', 1))
    for arguments in (
        ["export", "sheet.txt"],
        ["add", "--new-passphrase-file", "pw2"],
        ["export", "--write-only", "-"],
    ):
        ended = vault.backy("key", *arguments)
        assert ended.returncode == 14
        assert "holds only the write key" in ended.stderr


def test_a_sheet_goes_to_standard_output_too(vault: Place) -> None:
    text = vault.do("key", "export", "-", "--passphrase-file", "pw")
    assert "Recovery sheet" in text
    document = vault.ask("key", "export", "-", "--passphrase-file", "pw")
    assert document["content"].splitlines() == text.splitlines()
    said = vault.do("key", "export", "--write-only", "-", "--passphrase-file", "pw")
    assert json.loads(said.rpartition("sha256 ")[0])["backy"] == "write key"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["init", "--passphrase-file", "pw"], 2, "add --encrypt"),
        (["init", "--encrypt"], 2, "no terminal to ask for the new passphrase; give --passphrase-file FILE"),
        (["init", "--encrypt", "--passphrase-file", "none"], 2, "cannot read the passphrase"),
        (["init", "--encrypt", "--passphrase-file", "short"], 2, "too short"),
        (["init", "--encrypt", "--passphrase-file", "pw", "--kdf-memory", "1MiB"], 2, "64MiB to 1GiB"),
        (["init", "--encrypt", "--passphrase-file", "pw", "--hash", "md5"], 8, "md5"),
        (["key", "add", "--recovery", "x", "--kdf-memory", "64MiB"], 2, "leave"),
        (["key", "frobnicate"], 2, "frobnicate"),
        (["key", "remove"], 2, "SLOT"),
    ],
)
def test_mistakes_leave_nothing_behind(place: Place, arguments: list[str], code: int, said: str) -> None:
    secrets_in(place)
    (place.path / "short").write_text("short\n")
    ended = place.backy(*arguments)
    assert (ended.returncode, ended.stderr.count("\n")) == (code, 1), ended.stderr
    assert said in ended.stderr
    assert not list(place.path.rglob("*.toml"))


def test_keys_of_a_repository_that_is_not_encrypted(repository: Place) -> None:
    assert repository.ask("key", "list") == {"schema": 1, "encryption": None, "slots": []}
    ended = secrets_in(repository).backy("key", "add", "--new-passphrase-file", "pw")
    assert ended.returncode == 9
    assert "is not encrypted" in ended.stderr


def on_terminal(place: Place, answers: list[str], *arguments: str) -> tuple[int, str]:
    """Run `backy` on a terminal and type the answers, each when it is asked for; exit code and what was shown."""
    child, master = pty.fork()
    if child == 0:
        os.chdir(place.path)
        command = place.command(*arguments)
        os.execve(command[0], command, place.environment)
    shown, deadline = b"", time.monotonic() + 60
    waiting = list(answers)
    while time.monotonic() < deadline:
        if select.select([master], [], [], 0.1)[0]:
            try:
                read = os.read(master, 4096)
            except OSError:
                break
            if not read:
                break
            shown += read
            if waiting and shown.rstrip().endswith(b":"):
                time.sleep(0.1)  # getpass empties the line before it listens
                os.write(master, waiting.pop(0).encode() + b"\n")
                shown += b"|"
    else:
        os.kill(child, signal.SIGKILL)
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


def test_on_a_terminal_a_passphrase_is_typed_twice_and_later_once(place: Place) -> None:
    code, shown = on_terminal(place, [PASSPHRASE, "another one"], "init", "--encrypt", *QUICK)
    assert code == 2
    assert "differ" in shown
    assert not list(place.path.rglob("*.toml"))
    code, shown = on_terminal(place, [PASSPHRASE, PASSPHRASE], "init", "--encrypt", *QUICK)
    assert code == 0, shown
    assert "canary" not in shown
    code, shown = on_terminal(place, [PASSPHRASE, SECOND, SECOND], "key", "passphrase", *QUICK)
    assert code == 0, shown
    assert "canary" not in shown
    code, shown = on_terminal(place, [PASSPHRASE], "key", "export", "sheet.txt")
    assert code == 14, shown
    code, shown = on_terminal(place, [SECOND], "key", "export", "sheet.txt")
    assert code == 0, shown


def test_no_secret_is_in_any_output_whatever_goes_wrong(vault: Place) -> None:
    spoken = ""
    wrong = ["key", "export", "sheet.txt", "--passphrase-file", "wrong"]
    for arguments in (wrong, ["key", "add", "--passphrase-file", "pw", "--new-passphrase-file", "pw2", *QUICK]):
        ended = vault.backy(*arguments, "--debug", "--progress", "json")
        spoken += ended.stdout + ended.stderr
    vault.environment["BACKY_PASSPHRASE"] = "canary in the environment"
    ended = vault.backy("key", "passphrase", "--new-passphrase-file", "pw2", "--debug")
    spoken += ended.stdout + ended.stderr
    vault.environment["BACKY_PASSPHRASE"] = PASSPHRASE
    config = next(vault.path.rglob("store/config"))
    config.write_bytes(config.read_bytes()[:-3])
    ended = vault.backy("key", "passphrase", "--new-passphrase-file", "pw2", "--debug")
    spoken += ended.stdout + ended.stderr
    assert "Traceback" in spoken
    assert "canary" not in spoken
    for path in vault.path.rglob("*"):
        if path.is_file() and path.name not in ("pw", "pw2", "wrong"):
            assert b"canary" not in path.read_bytes(), path


def test_a_store_that_says_it_is_not_encrypted_is_not_believed(vault: Place) -> None:
    from backy_core.objects.texts import decode_text, encode_text

    vault.environment["BACKY_PASSPHRASE"] = PASSPHRASE
    vault.image()
    config = next(vault.path.rglob("store/config"))
    said = decode_text(config.read_bytes(), "repository")
    for change in ({"encryption": None}, {"hash": "sha256"}, {"block_size": 8192}):
        config.write_bytes(encode_text({**said, **change}))
        for arguments in (["backup", "disk.img", "vm-1"], ["key", "export", "sheet.txt"]):
            ended = vault.backy(*arguments)
            assert ended.returncode == 9, ended.stderr
            assert "contradicts the database" in ended.stderr
    assert not list(config.parent.glob("c/*/*"))


STEPS = ("save", "initialise", "put_slot", "write_config")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True])
def test_an_init_that_was_killed_at_any_step_is_completed_by_the_next(tmp_path: Path, step: str, after: bool) -> None:
    """The next one has another passphrase: nobody need remember that of the one that was killed."""
    place = secrets_in(fresh_place(tmp_path))
    owner = {
        "save": "backy_core.settings",
        "initialise": "backy_meta_sql.store.SqlMetaStore",
        "put_slot": "backy_core.encryption.stored_slots",
        "write_config": "backy_core.initialise",
    }[step]
    module = owner.removesuffix(".SqlMetaStore")
    code = (
        "import importlib, os, signal, sys\n"
        f"owner = importlib.import_module({module!r})\n"
        f"owner = getattr(owner, 'SqlMetaStore') if {owner != module} else owner\n"
        f"really = getattr(owner, {step!r})\n"
        "def killed(*arguments, **keywords):\n"
        f"    if {after}: really(*arguments, **keywords)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"setattr(owner, {step!r}, killed)\n"
        "from backy_core.cli.main import run\n"
        f"run(['init', '--encrypt', '--passphrase-file', 'pw', '--kdf-memory', '64MiB'])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=place.path, env=place.environment, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    if step in ("put_slot", "write_config") or (step == "initialise" and after):
        told = place.backy("init")
        assert told.returncode == 9
        if not (step == "write_config" and after):
            assert "run it with --encrypt again" in told.stderr
    ended_again = place.backy("init", "--encrypt", "--passphrase-file", "pw2", *QUICK)
    done = step == "write_config" and after
    assert ended_again.returncode == (9 if done else 0), ended_again.stderr
    place.do("key", "export", "sheet.txt", "--passphrase-file", "pw" if done else "pw2")
    assert len(slots(place)) == 1
    assert place.backy("key", "export", "other.txt", "--passphrase-file", "pw2" if done else "pw").returncode == 14


def test_an_interrupted_plain_init_is_not_completed_as_an_encrypted_one(repository: Place) -> None:
    next(repository.path.rglob("store/config")).unlink()
    ended = secrets_in(repository).backy("init", "--encrypt", "--passphrase-file", "pw", *QUICK)
    assert ended.returncode == 9
    assert "without encryption, which is fixed for good" in ended.stderr
    repository.do("init")


def test_key_slots_whose_config_is_lost_are_never_written_over(vault: Place) -> None:
    store = next(vault.path.rglob("store/config")).parent
    (store / "config").unlink()
    before = sorted(path.name for path in store.glob("keys/*"))
    for more in ([], ["--encrypt", "--passphrase-file", "pw2", *QUICK]):
        ended = vault.backy("-R", "other", "init", "--store", str(store), *more)
        assert ended.returncode == 9
        assert "key slots of a repository whose config is missing" in ended.stderr
    assert sorted(path.name for path in store.glob("keys/*")) == before


def test_two_inits_at_once_leave_one_slot_that_opens(place: Place) -> None:
    secrets_in(place)
    running = [
        subprocess.Popen(
            place.command("init", "--encrypt", "--passphrase-file", name, *QUICK),
            cwd=place.path,
            env=place.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name in ("pw", "pw2")
    ]
    for process in running:
        process.communicate(timeout=120)
    codes = [process.returncode for process in running]
    assert sorted(codes) == [0, 9]
    winner = ("pw", "pw2")[codes.index(0)]
    place.do("key", "export", "sheet.txt", "--passphrase-file", winner)
    assert len(slots(place)) == 1
