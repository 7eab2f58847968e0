"""An open repository's parts: its settings, database, store and key, each opened when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from backy_core.errors import RepositoryError
from backy_core.model import RepositoryFacts
from backy_core.objects.identity import check_generation, read_config
from backy_core.opening import open_store
from backy_core.plugins import Plugins
from backy_core.settings import RepositorySettings

if TYPE_CHECKING:
    from backy_core.contracts.meta import MetaStore
    from backy_core.contracts.store import Store
    from backy_core.encryption.ring import KeyRing
    from backy_core.encryption.unlocking import Ask, Unlocked
    from backy_core.engine import Engine

__all__ = ["Access"]


class Access:
    """What `Repository` works with. Closed by `close` or at the end of a `with`."""

    def __init__(
        self,
        settings: RepositorySettings,
        plugins: Plugins,
        meta: MetaStore,
        *,
        passphrase: str | None = None,
        ask: Ask | None = None,
    ) -> None:
        self.settings = settings
        self._plugins = plugins
        self.meta = meta
        # Functions, so that no repr of this object's fields shows a secret.
        self._passphrase: Callable[[], str | None] = lambda: passphrase
        self._ask = ask
        self.facts: RepositoryFacts = meta.facts()

    def close(self) -> None:
        """Give back connections and files, and forget the key."""
        self._close_store()
        self.__dict__.pop("_unlocked", None)
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
        from backy_core.engine import make_engine

        return make_engine(self._plugins, self.settings, self.facts, self.meta, self._store, lambda: self._unlocked.key)

    @cached_property
    def keys(self) -> KeyRing:
        """The key slots, recovery sheet and write key of an encrypted repository."""
        from backy_core.encryption.ring import KeyRing

        return KeyRing(self.settings, self.facts, lambda: self._store, lambda: self._unlocked)

    @cached_property
    def _store(self) -> Store:
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
            if found != self.facts:
                # Otherwise whoever operates the store could have an encrypted repository written to in the clear.
                raise RepositoryError(
                    f"{store.location}/config contradicts the database at {self.meta.location}: "
                    f"{_differences(found, self.facts)}; one of them was changed, bring back the right one"
                )
        except BaseException:
            store.close()
            raise
        return store

    @cached_property
    def _unlocked(self) -> Unlocked:
        from backy_core.encryption.unlocking import unlock

        return unlock(
            self._store, self.facts.repository_id, self.settings, passphrase=self._passphrase(), ask=self._ask
        )

    def _close_store(self) -> None:
        self.__dict__.pop("engine", None)
        store = self.__dict__.pop("_store", None)
        if store is not None:
            store.close()

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
        from backy_core.commit import complete

        engine = self.engine
        with self._session(command) as session:
            check_generation(engine.store, self.meta.generation)
            if self.meta.is_behind():
                raise RepositoryError(
                    "the database is behind its store and half made right; run `backy reconcile` again"
                )
            complete(engine, session, frees_space=command in ("rm", "cleanup"))
            yield session


def _differences(stored: RepositoryFacts, recorded: RepositoryFacts) -> str:
    pairs = ((name, getattr(stored, name), getattr(recorded, name)) for name in RepositoryFacts.__slots__)
    return ", ".join(f"{name} {there} instead of {here}" for name, there, here in pairs if there != here)
