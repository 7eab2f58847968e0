"""Builds small third-party packages as wheels, installs them on a path of their own, runs children that see them."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

STORE = """
from backy_core.contracts.store import Store
from backy_core.errors import ObjectExists, ObjectMissing


class DictionaryStore(Store):
    def __init__(self, location, settings):
        self.location, self.settings, self.objects = location, settings, {}

    def put(self, key, parts, *, urgent=False):
        if key in self.objects:
            raise ObjectExists(key)
        self.objects[key] = b"".join(parts)

    def get(self, key, offset=0, length=None):
        if key not in self.objects:
            raise ObjectMissing(key)
        return self.objects[key][offset : None if length is None else offset + length]

    def size(self, key):
        return len(self.get(key))

    def list(self, prefix=""):
        return iter(())

    def delete(self, keys):
        return []
"""

OPENS = """
from backy_core.hooks import hookimpl

@hookimpl
def open_store(location, settings):
    from acme_fine.store import DictionaryStore
    return DictionaryStore(location, settings)
"""

FINE = (
    OPENS
    + """
from dataclasses import dataclass, field

@dataclass(frozen=True, kw_only=True)
class Settings:
    region: str = "here"
    token: str | None = field(default=None, metadata={"secret": True}, repr=False)

@hookimpl
def store_settings():
    return Settings
"""
)

# One distribution, one way to be wrong per module; the entry point has the module's name.
ZOO = {
    "sdkless": "import sdk_of_acme\n",
    "oldcore": "from backy_core.hooks import hook_of_tomorrow\n",
    "syntax": "def open_store(:\n",
    "exits": "raise SystemExit('no licence')\n",
    "asserts": "assert False, 'never\\ntrue'\n",
    "argument": OPENS.replace("settings):", "settings, region):"),
    "hookname": OPENS.replace("def open_store", "def open_stoer"),
    "foreign": OPENS.replace("def open_store", "def frobnicate"),
    "specname": OPENS.replace("@hookimpl", '@hookimpl(specname="open_store")').replace("def open_store", "def opens"),
    "answersnothing": OPENS.replace("return DictionaryStore(location, settings)", "return None"),
    "nonsense": OPENS.replace("return DictionaryStore(location, settings)", "return 'a string'"),
    "hookless": "answer = 42\n",
    "unmarked": OPENS.replace("@hookimpl", ""),
    "latesdk": OPENS.replace("from acme_fine.store", "from sdk_of_acme"),
    "crashes": OPENS.replace("return Dict", "raise ValueError('two\\nlines')\n    return Dict"),
    "refuses": OPENS.replace(
        "return Dict",
        "from backy_core.errors import StoreError\n    raise StoreError('acme is on holiday')\n    return Dict",
    ),
    "badsettings": OPENS + "\n@hookimpl\ndef store_settings():\n    return {'region': 'here'}\n",
}

WRITES = """
import sys
from backy_core.hooks import hookimpl

@hookimpl
def version_finished(facts):
    print("told", facts.volume, file=sys.stderr)
"""

WRAPS = """
from backy_core.hooks import hookimpl

@hookimpl(wrapper=True)
def open_store(location):
    store = yield
    store.location = "wrapped " + location
    return store
"""

KINDS = """
from dataclasses import dataclass
from backy_core.hooks import hookimpl

@dataclass(frozen=True)
class Settings:
    pool: str = "a"

@hookimpl
def io_settings():
    return Settings

@hookimpl
def open_source(location, settings):
    from acme_kinds.things import Source
    return Source(location, settings)

@hookimpl
def open_target(location, settings, size, force, source):
    from acme_kinds.things import Target
    return Target(location, settings, size, force, source)

@hookimpl
def meta_settings():
    return Settings

@hookimpl
def open_meta(location, settings, create):
    from acme_kinds.things import MetaStore
    return MetaStore(location, settings, create)

@hookimpl
def new_hash(name):
    from acme_kinds.things import Hash
    return Hash(name)
"""

THINGS = """
from backy_core.contracts import hash, meta, source, target

def keeping(contract):
    class Kept(contract):
        def __init__(self, *said):
            self.said = said

    Kept.__abstractmethods__ = frozenset()
    return Kept

Source, Target = keeping(source.Source), keeping(target.Target)
MetaStore, Hash = keeping(meta.MetaStore), keeping(hash.Hash)
"""

HEARS = """
from backy_core.hooks import hookimpl

@hookimpl
def damage_found(facts):
    print("damage:", facts.key)

@hookimpl
def version_finished():
    print("finished, and no more was asked")
"""


@dataclass(frozen=True)
class Package:
    """A distribution to build: entry points by group, and modules by path below the package folder."""

    name: str
    version: str
    points: dict[str, dict[str, str]]
    modules: dict[str, str] = field(default_factory=lambda: {"__init__.py": OPENS})

    @property
    def folder(self) -> str:
        return self.name.replace("-", "_")

    def write(self, below: Path) -> Path:
        """Write the source tree; return its folder."""
        tree = below / self.name
        for path, text in self.modules.items():
            file = tree / self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        lines = ["[build-system]", 'requires = ["hatchling"]', 'build-backend = "hatchling.build"', "[project]"]
        lines += [f'name = "{self.name}"', f'version = "{self.version}"', 'dependencies = ["backy-core>=0.1,<2"]']
        for group, points in self.points.items():
            lines += [f'[project.entry-points."{group}"]', *(f'"{name}" = "{to}"' for name, to in points.items())]
        lines += ["[tool.hatch.build.targets.wheel]", f'packages = ["{self.folder}"]']
        (tree / "pyproject.toml").write_text("\n".join(lines) + "\n")
        return tree


V1 = "backy_core.store.v1"
PACKAGES = [
    Package(
        "acme-fine",
        "1.2.0",
        {V1: {"fine": "acme_fine", "fine.tls": "acme_fine"}},
        {"__init__.py": FINE, "store.py": STORE},
    ),
    Package(
        "acme-zoo",
        "3.1.4",
        {V1: {**{name: f"acme_zoo.{name}" for name in ZOO}, "classy": "acme_zoo:Keeper"}},
        {"__init__.py": "class Keeper:\n    pass\n", **{f"{name}.py": text for name, text in ZOO.items()}},
    ),
    Package(
        "acme-old",
        "0.1.0",
        {"backy_core.store.v0": {"old": "acme_old"}, "backy_core.store.v1x": {"odd": "acme_old"}},
        {"__init__.py": "import nothing_here\n"},
    ),
    Package(
        "acme-new", "9.0.0", {"backy_core.store.v99": {"new": "acme_new"}}, {"__init__.py": "import nothing_here\n"}
    ),
    Package(
        "acme-both",
        "2.0.0",
        {"backy_core.store.v99": {"both": "acme_both.next"}, V1: {"both": "acme_both"}},
        {"__init__.py": OPENS, "next.py": "import nothing_here\n"},
    ),
    Package("acme-one", "1.0.0", {V1: {"twice": "acme_one"}}),
    Package("acme-two", "2.0.0", {V1: {"twice": "acme_two"}}),
    Package(
        "acme-kinds",
        "1.0.0",
        {
            "backy_core.io.v1": {"kinds": "acme_kinds"},
            "backy_core.meta.v1": {"kinds": "acme_kinds"},
            "backy_core.hash.v1": {"kinds": "acme_kinds"},
            "backy_core.hooks.v1": {"hears": "acme_kinds.hears"},
        },
        {"__init__.py": KINDS, "things.py": THINGS, "hears.py": HEARS},
    ),
    Package(
        "acme-selfwatch", "1.0.0", {V1: {"self": "acme_selfwatch"}, "backy_core.hooks.v1": {"self": "acme_selfwatch"}}
    ),
    Package("acme-writes", "1.0.0", {"backy_core.hooks.v1": {"writes": "acme_writes"}}, {"__init__.py": WRITES}),
    Package("acme-wraps", "1.0.0", {"backy_core.hooks.v1": {"wraps": "acme_wraps"}}, {"__init__.py": WRAPS}),
    Package(
        "acme-bothers",
        "0.9.0",
        {
            "backy_core.hooks.v1": {
                "a-broken": "acme_bothers.broken",
                "b-raises": "acme_bothers.raises",
                "c-thief": "acme_bothers.thief",
            }
        },
        {
            "__init__.py": "",
            "broken.py": "import sdk_of_acme\n",
            "raises.py": WRITES.replace("print", "raise RuntimeError('full\\ndisk')\n    print"),
            "thief.py": OPENS.replace("return Dict", "raise RuntimeError('stolen')\n    return Dict"),
        },
    ),
]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of all these packages, by distribution name; built once, offline."""
    base = tmp_path_factory.mktemp("third parties")
    trees = [str(package.write(base / "sources")) for package in PACKAGES]
    built = base / "wheels"
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--wheel-dir", str(built), *trees],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {wheel.name.split("-")[0].replace("_", "-"): wheel for wheel in built.iterdir()}


Install = Callable[..., Path]


@pytest.fixture
def install(wheels: dict[str, Path], tmp_path: Path) -> Install:
    """Installs distributions into one folder (a pure wheel is installed by unpacking it) and returns the folder."""

    def unpack(*names: str) -> Path:
        site = tmp_path / "site packages"
        site.mkdir(exist_ok=True)
        for name in names:
            with zipfile.ZipFile(wheels[name]) as wheel:
                wheel.extractall(site)
        return site

    return unpack


# What the command line does with an error, and nothing else: whatever is no BackyError shows a traceback and fails.
PROGRAM = """
import sys
from backy_core.errors import BackyError
from backy_core.plugins import Plugins, installed
try:
    exec(sys.argv[1])
except BackyError as error:
    print(f"backy: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
"""


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def child(tmp_path: Path) -> Callable[..., Ended]:
    """Runs a piece of code in a fresh interpreter that sees the folders given."""

    def run(code: str, *sites: Path, **environment: str) -> Ended:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("BACKY_", "PYTHON"))}
        kept |= {"PYTHONPATH": os.pathsep.join(map(str, sites)), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, code],
            check=False,
            env=kept | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run
