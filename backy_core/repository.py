"""Opens a repository: the Python API, which does all that the command `backy` does.

with backy_core.Repository.open() as repository:
    report = repository.backup("/dev/vg/vm-42", "vm-42")
    repository.restore("vm-42", "/tmp/vm-42.img")
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from backy_core import settings as configuration
from backy_core.errors import BackyError, NotFound, RepositoryError, VersionBusy
from backy_core.model import RepositoryFacts, Version, VersionState
from backy_core.objects.identity import check_generation, read_config
from backy_core.opening import open_meta, open_source, open_store, open_target, plugins_of
from backy_core.plugins import Plugins
from backy_core.reports import ProgressCallback, ignore_progress
from backy_core.selectors import check_volume_name, select
from backy_core.settings import RepositorySettings

if TYPE_CHECKING:
    from backy_core.contracts.meta import MetaStore, Usage
    from backy_core.engine import Engine
    from backy_core.reports import BackupReport, CleanupReport, RemoveReport, RestoreReport, ScrubReport, VersionDetails

__all__ = ["Repository"]


class Repository:
    """An open repository. Made by `create` or `open`; closed by `close` or at the end of a `with`.

    Not for use by several threads at once; several processes may work on one repository at the same time.
    """

    def __init__(self, settings: RepositorySettings, plugins: Plugins, meta: MetaStore) -> None:
        self.settings = settings
        self._plugins = plugins
        self.meta = meta
        self.facts: RepositoryFacts = meta.facts()

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
    ) -> Repository:
        """Initialise a repository and write its settings file; what is not given gets its default.

        An `init` that was interrupted is completed by the next. Raises `RepositoryError` when the repository exists,
        or when the store or the database belongs to another one.
        """
        from backy_core.initialise import initialise

        path = initialise(
            name,
            store=store,
            metadata=metadata,
            hash_name=hash_name,
            block_size=block_size,
            compression=compression,
        )
        return cls.open(str(path))

    @classmethod
    def open(cls, name: str | None = None) -> Repository:
        """Open the repository `name`, or the settings file of that path; None: `BACKY_REPOSITORY`, else `default`.

        Only the metadata store is opened; the store follows when something needs it.
        """
        settings = configuration.load(name)
        plugins = plugins_of(settings)
        meta = open_meta(plugins, settings, create=False)
        try:
            return cls(settings, plugins, meta)
        except BaseException:
            meta.close()
            raise

    def close(self) -> None:
        """Give back connections and files."""
        self._close_store()
        self.meta.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def engine(self) -> Engine:
        """The store, hash and envelope, opened when first needed and found to belong to this database."""
        from backy_core.engine import Engine
        from backy_core.objects.envelope import Envelope
        from backy_core.pipeline import worker_count

        level = configuration.compression_level(self.settings.compression)
        hash_ = self._plugins.open("hash", self.facts.hash_name, "new_hash", name=self.facts.hash_name)
        store = open_store(self._plugins, self.settings, create=False)
        try:
            found = read_config(store)
            if found is None:
                raise RepositoryError(f"{store.location} holds no repository; is the right place mounted there?")
            if found.repository_id != self.facts.repository_id:
                raise RepositoryError(
                    f"{store.location} belongs to the repository {found.repository_id}, but the database at "
                    f"{self.meta.location} to {self.facts.repository_id}; correct the settings {self.settings.path}"
                )
        except BaseException:
            store.close()
            raise
        return Engine(
            facts=self.facts,
            meta=self.meta,
            store=store,
            hash=hash_,
            envelope=Envelope(hash_, level),
            workers=worker_count(self.settings.workers),
            memory=self.settings.memory,
        )

    # -- the use cases -------------------------------------------------------------------------------------------

    def backup(
        self,
        source: str,
        volume: str,
        *,
        hints: Path | None = None,
        base: str | None = None,
        progress: ProgressCallback = ignore_progress,
    ) -> BackupReport:
        """Back up `source` (a URL or path) as a new version of `volume`.

        `hints`: a file of changed ranges since `base` (a selector; default: the volume's newest finished version).
        """
        from backy_core.backup import backup
        from backy_core.hints import read_hints

        check_volume_name(volume)
        base_uid = self._finished(base).uid if base is not None else None
        with open_source(self._plugins, self.settings, source) as opened:
            touched = read_hints(hints, opened.size, self.facts.block_size) if hints is not None else None
            with self._writing("backup") as session:
                report = backup(
                    self.engine,
                    session,
                    opened,
                    volume,
                    created=datetime.now(UTC),
                    hints=touched,
                    base_uid=base_uid,
                    progress=progress,
                )
        if report.version.state is VersionState.VALID:
            self._plugins.notify("version_finished", facts=report.version)
        return report

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

        chosen = list({found.uid: found for found in map(self.resolve, versions)}.values())
        with self._writing("rm") as session:
            return remove(self.meta, session, chosen, progress=progress)

    def cleanup(self, *, progress: ProgressCallback = ignore_progress) -> CleanupReport:
        """Reclaim the space of what was removed or interrupted."""
        from backy_core.cleanup import cleanup

        with self._writing("cleanup") as session:
            return cleanup(self.engine, session, progress=progress)

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

    def _finished(self, selector: str) -> Version:
        found = self.resolve(selector)
        if found.state is VersionState.REMOVING:
            raise NotFound(f"version {found.uid} of {found.volume} is being removed")
        if found.state is VersionState.WRITING:
            if found.interrupted:
                raise NotFound(f"version {found.uid} of {found.volume} was interrupted; back the volume up again")
            raise VersionBusy(f"version {found.uid} of {found.volume} is still being written; wait for its backup")
        return found

    def _close_store(self) -> None:
        engine = self.__dict__.pop("engine", None)
        if engine is not None:
            engine.store.close()

    @contextmanager
    def _session(self, command: str) -> Iterator[int]:
        session = self.meta.open_session(command)
        try:
            yield session
        except BaseException:
            # After an error nobody knows what the store's connections and caches are worth: the next one opens it anew.
            self._close_store()
            raise
        finally:
            self.meta.close_session(session)

    @contextmanager
    def _writing(self, command: str) -> Iterator[int]:
        """A session that changes what the store or the map holds: not with a database that is behind the store."""
        store = self.engine.store
        with self._session(command) as session:
            check_generation(store, self.meta.generation)
            yield session
