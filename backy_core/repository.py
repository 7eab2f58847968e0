"""Opens a repository: the Python API, which does all that the command `backy` does.

with backy_core.Repository.open() as repository:
    report = repository.backup("/dev/vg/vm-42", "vm-42")
    repository.restore("vm-42", "/tmp/vm-42.img")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from backy_core import settings as configuration
from backy_core.access import Access
from backy_core.errors import BackyError, InvalidInput, NotFound, VersionBusy
from backy_core.model import Attributes, Protection, Version, VersionState
from backy_core.opening import open_meta, open_source, open_target, plugins_of
from backy_core.reports import ProgressCallback, ignore_progress
from backy_core.selectors import check_tags, check_volume_name, select

if TYPE_CHECKING:
    from backy_core.contracts.meta import Usage
    from backy_core.contracts.source import Source
    from backy_core.encryption.unlocking import Ask
    from backy_core.extents import BlockRanges
    from backy_core.reports import (
        BackupReport,
        CheckReport,
        CleanupReport,
        CopyReport,
        ImportReport,
        ReconcileReport,
        RemoveReport,
        RestoreReport,
        ScrubReport,
        VersionDetails,
    )

__all__ = ["Repository"]


class Repository(Access):
    """An open repository. Made by `create` or `open`; closed by `close` or at the end of a `with`.

    Not for use by several threads at once; several processes may work on one repository at the same time.
    """

    # -- opening -------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        name: str | None = None,
        *,
        store: str | None = None,
        metadata: str | None = None,
        hash_name: str | None = None,
        block_size: int | None = None,
        compression: str | None = None,
        passphrase: str | None = None,
        kdf_memory: int | None = None,
    ) -> Repository:
        """Initialise a repository and write its settings file; what is not given gets its default.

        With a passphrase it is encrypted, and that passphrase opens its first key slot; `kdf_memory`: bytes of memory
        that trying a passphrase takes, 64 MiB to 1 GiB.

        An `init` that was interrupted is completed by the next. Raises `RepositoryError` when the repository exists,
        or when the store or the database belongs to another one; `InvalidInput` for a passphrase that is too short.
        """
        from backy_core.initialise import initialise

        path = initialise(
            name,
            store=store,
            metadata=metadata,
            hash_name=hash_name,
            block_size=block_size,
            compression=compression,
            passphrase=passphrase,
            kdf_memory=kdf_memory,
        )
        return cls.open(str(path), passphrase=passphrase)

    @classmethod
    def open(cls, name: str | None = None, *, passphrase: str | None = None, ask: Ask | None = None) -> Repository:
        """Open the repository `name`, or the settings file of that path; None: `BACKY_REPOSITORY`, else `default`.

        Only the metadata store is opened; the store, and the key of an encrypted repository, follow when something
        needs them. The key comes by `passphrase` if given, else by what the settings say, else by the environment
        variable `BACKY_PASSPHRASE`, else `ask` is called for a passphrase.
        """
        settings = configuration.load(name)
        plugins = plugins_of(settings)
        meta = open_meta(plugins, settings, create=False)
        try:
            return cls(settings, plugins, meta, passphrase=passphrase, ask=ask)
        except BaseException:
            meta.close()
            raise

    # -- the use cases -------------------------------------------------------------------------------------------

    def backup(
        self,
        source: str,
        volume: str,
        *,
        hints: Path | None = None,
        base: str | None = None,
        tags: Sequence[str] = (),
        progress: ProgressCallback = ignore_progress,
    ) -> BackupReport:
        """Back up `source` (a URL or path) as a new version of `volume`, with these tags.

        `hints`: a file of changed ranges since `base` (a selector; default: the volume's newest finished version).
        """
        from backy_core.hints import read_hints

        check_volume_name(volume)
        base_uid = self._finished(base).uid if base is not None else None
        with open_source(self._plugins, self.settings, source) as opened:
            touched = read_hints(hints, opened.size, self.facts.block_size) if hints is not None else None
            attributes = Attributes(check_tags(tags), expires=opened.expires)
            return self._back_up(opened, volume, touched, base_uid, attributes, progress=progress)

    def restore(
        self, version: str, target: str, *, force: bool = False, progress: ProgressCallback = ignore_progress
    ) -> RestoreReport:
        """Restore the version that the selector names to `target` (a URL or path); `force` overwrites what is there."""
        from backy_core.restore import restore

        chosen = self._finished(version)
        engine = self.engine
        with self._session("restore") as session:
            chosen = self.meta.pin(session, chosen.uid)
            opened = open_target(self._plugins, self.settings, target, chosen, force=force)
            try:
                report = restore(engine, session, chosen, opened, progress=progress)
            finally:
                opened.abandon()
        for damage in report.damage:
            self._plugins.notify("damage_found", facts=damage)
        return report

    def scrub(self, versions: Sequence[str] = (), *, progress: ProgressCallback = ignore_progress) -> ScrubReport:
        """Read back and check every chunk of these versions, or of all finished ones."""
        from backy_core.scrub import scrub

        if versions:
            chosen = [self._finished(version) for version in dict.fromkeys(versions)]
        else:
            chosen = [version for version in self.meta.versions() if version.state.is_finished]
        engine = self.engine
        with self._session("scrub") as session:
            report = scrub(engine, session, chosen, progress=progress)
        for damage in report.damage:
            self._plugins.notify("damage_found", facts=damage)
        return report

    def remove(self, versions: Sequence[str], *, progress: ProgressCallback = ignore_progress) -> RemoveReport:
        """Remove these versions; `cleanup` then reclaims their space."""
        from backy_core.remove import remove

        chosen = _each(map(self.resolve, versions))
        with self._writing("rm") as session:
            return remove(self.engine, session, chosen, progress=progress)

    def cleanup(self, *, progress: ProgressCallback = ignore_progress) -> CleanupReport:
        """Reclaim the space of what was removed or interrupted."""
        from backy_core.cleanup import cleanup

        with self._writing("cleanup") as session:
            return cleanup(self.engine, session, progress=progress)

    # -- attributes ----------------------------------------------------------------------------------------------

    def protect(
        self, versions: Sequence[str], *, reason: str = "", by: str = "", until: datetime | None = None
    ) -> list[Version]:
        """Have nobody remove these versions (until then); they as they are now."""
        return self._change(versions, lambda was: replace(was, protected=Protection(reason, by, until)))

    def unprotect(self, versions: Sequence[str]) -> list[Version]:
        """Let these versions be removed again; they as they are now."""
        return self._change(versions, lambda was: replace(was, protected=None))

    def tag(self, versions: Sequence[str], *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> list[Version]:
        """Add tags to these versions and take others off; they as they are now."""
        added, removed = set(check_tags(add)), set(remove)
        return self._change(versions, lambda was: replace(was, tags=tuple(sorted({*was.tags, *added} - removed))))

    # -- the database and the store ------------------------------------------------------------------------------

    def reconcile(
        self, *, dooms_orphans: bool = False, dry_run: bool = False, progress: ProgressCallback = ignore_progress
    ) -> ReconcileReport:
        """Make database and store agree again, see `backy_core.reconcile`."""
        from backy_core.reconcile import reconcile

        engine = self.engine
        with self._session("reconcile") as session:
            return reconcile(engine, session, dooms_orphans=dooms_orphans, dry_run=dry_run, progress=progress)

    def check_database(self, *, progress: ProgressCallback = ignore_progress) -> CheckReport:
        """Make a database anew from the store, beside this one, and compare: they must be equal."""
        from backy_core.recovery import check_database

        return check_database(self.engine, self._plugins, self.settings, progress)

    def copy(
        self, versions: Sequence[str], to: Repository, *, progress: ProgressCallback = ignore_progress
    ) -> CopyReport:
        """Copy these versions, or all valid ones, to another repository; what is there already is not copied again.

        Every chunk is checked when it is read, and sealed anew for the other repository. A copy that was interrupted
        goes on where it stopped.
        """
        from backy_core.copy import copy

        if to.facts.repository_id == self.facts.repository_id:
            raise InvalidInput("a repository cannot be copied to itself; name another one with --to")
        if versions:
            chosen = _each(map(self._finished, versions))
        else:
            chosen = [version for version in self.meta.versions() if version.state is VersionState.VALID]
        engine = self.engine
        with to._writing("copy"):
            pass  # it finishes what a killed copy has promised over there, which must not be copied again
        with self._session("copy") as session:
            return copy(engine, session, chosen, to.meta, partial(to._back_up, progress=progress))

    def export(
        self, versions: Sequence[str], write: Callable[[bytes], object], *, progress: ProgressCallback = ignore_progress
    ) -> list[Version]:
        """Write the metadata of these versions down, by calls of `write`; see `backy_core.export`."""
        from backy_core.export import export

        chosen = _each(map(self._finished, versions))
        with self._session("export") as session:
            pinned = [self.meta.pin(session, version.uid) for version in chosen]
            export(self.meta, pinned, write, progress)
        return chosen

    def import_export(self, path: Path, *, progress: ProgressCallback = ignore_progress) -> ImportReport:
        """Make versions from a file that `export` wrote, of this repository; see `backy_core.importing`."""
        from backy_core.export import read_export
        from backy_core.importing import import_versions

        with self._writing("import") as session:
            return import_versions(self.engine, session, read_export(path, self.facts), progress)

    def import_backy2(
        self, path: Path, data: Path, volume: str | None = None, *, progress: ProgressCallback = ignore_progress
    ) -> BackupReport | None:
        """Take over a version that backy2 exported, its blobs being in the folder `data`; None when that was done.

        It keeps its time, its expiry and, unless `volume` is given, its name. The blobs are read where they are.
        """
        from urllib.parse import quote

        where = f"backy2://{quote(str(path.absolute()))}?data={quote(str(data.absolute()))}"
        with open_source(self._plugins, self.settings, where) as source:
            name = volume or source.volume or ""
            check_volume_name(name)
            there = {version.identity for version in self.versions() if version.state.is_finished}
            if source.identity is not None and source.identity in there:
                return None
            attributes = Attributes(expires=source.expires)
            return self._back_up(source, name, None, None, attributes, progress=progress)

    # -- looking -------------------------------------------------------------------------------------------------

    def versions(self, volume: str | None = None) -> list[Version]:
        """All versions (of one volume), oldest first; `NotFound` when there is no such volume."""
        found = self.meta.versions(volume)
        if any(version.state is VersionState.WRITING and not version.interrupted for version in found):
            # Whoever writes it may have been killed: then say so. On a full disk nothing can be recorded; go on then.
            with suppress(BackyError):
                self.meta.reap()
            found = self.meta.versions(volume)
        if volume is not None and not found:
            select(volume, self.meta.versions(), self.meta.find_uid)  # says what is near
        return found

    def resolve(self, selector: str) -> Version:
        """The version that the selector names, see `backy_core.selectors`."""
        return select(selector, self.versions(), self.meta.find_uid)

    def show(self, version: str) -> VersionDetails:
        """What is in a version, and what is wrong with it."""
        from backy_core.details import details

        return details(self.meta, self.resolve(version))

    def usage(self) -> Usage:
        """Totals of the repository."""
        return self.meta.usage()

    # -- parts ---------------------------------------------------------------------------------------------------

    def _back_up(
        self,
        source: Source,
        volume: str,
        hints: BlockRanges | None,
        base_uid: str | None,
        attributes: Attributes,
        *,
        progress: ProgressCallback,
    ) -> BackupReport:
        from backy_core.backup import backup

        with self._writing("backup") as session:
            report = backup(
                self.engine,
                session,
                source,
                volume,
                created=source.made or datetime.now(UTC),
                hints=hints,
                base_uid=base_uid,
                attributes=attributes,
                progress=progress,
            )
        if report.version.state is VersionState.VALID:
            self._plugins.notify("version_finished", facts=report.version)
        return report

    def _change(self, versions: Sequence[str], change: Callable[[Attributes], Attributes]) -> list[Version]:
        from backy_core.commit import commit_attributes

        chosen = _each(map(self._finished, versions))
        with self._writing("tag") as session:
            # Anew: somebody may have changed them while this run waited for its key, or put what others had decided.
            fresh = {version.uid: version for version in self.meta.versions() if version.state.is_finished}
            for version in (fresh.get(version.uid, version) for version in chosen):
                wanted = change(version.attributes)
                if wanted != version.attributes:
                    commit_attributes(self.engine, session, version.uid, wanted)
        now = {version.uid: version for version in self.meta.versions()}
        return [now[version.uid] for version in chosen if version.uid in now]

    def _finished(self, selector: str) -> Version:
        found = self.resolve(selector)
        if found.state is VersionState.REMOVING:
            raise NotFound(f"version {found.uid} of {found.volume} is being removed")
        if found.state is VersionState.WRITING:
            if found.interrupted:
                raise NotFound(f"version {found.uid} of {found.volume} was interrupted; back the volume up again")
            raise VersionBusy(f"version {found.uid} of {found.volume} is still being written; wait for its backup")
        return found


def _each(versions: Iterable[Version]) -> list[Version]:
    """The versions, each once: several selectors may name the same one."""
    return list({version.uid: version for version in versions}.values())
