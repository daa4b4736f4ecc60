"""The store's verbs for tasks: awaitable, durable when they return, sharing commits.

Calls that come while a commit is under way form the group of the next one, and the first of them carries it out: one
fsync for all, no task of their own, and each caller is woken once. Nothing here knows what the verbs do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Generic, ParamSpec, TypeVar, cast

import anyio

from batchrunner.errors import StorageError
from batchrunner.store.base import Store

P = ParamSpec("P")
T = TypeVar("T")


class _Call(Generic[T]):
    """One verb that waits for its commit."""

    def __init__(self, verb: Callable[[], T]) -> None:
        self.verb = verb
        self.error: Exception | None = None
        self.answer: T | None = None

    def happen(self, store: Store) -> None:
        """Run the verb so that its failure undoes it alone; the caller hears of it after the commit."""
        try:
            with store.transaction():
                self.answer = self.verb()
        except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to the caller
            self.error = error

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return cast("T", self.answer)


class _Group:
    """The calls of one commit."""

    def __init__(self) -> None:
        self.calls: list[_Call[object]] = []
        self.turn = anyio.Event()
        self.done = anyio.Event()


class _OneFailed(Exception):
    """A verb of a group raised."""


class Writer:
    """Runs verbs in shared transactions; a commit that fails ends it, and nothing is ever committed again.

    A failed fsync may have dropped the data and report success the next time, so it is not repeated (reliability notes
    §1.5). With `inline` the commits run on the event loop: for stores that do not block.
    """

    def __init__(self, store: Store, *, inline: bool = False) -> None:
        self._store = store
        self._inline = inline
        self._forming: _Group | None = None
        self._committing: _Group | None = None
        self._thread = anyio.CapacityLimiter(1)  # its own: a commit does not wait for the threads that write clips
        self._closed = False
        self._broken: StorageError | None = None

    async def run(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the verb returns, once it is durable.

        A caller that is cancelled before its call is queued leaves no trace; once queued, the call is carried out and
        the caller learns its result before the cancellation reaches it.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        self._check()
        call: _Call[T] = _Call(partial(verb, *args, **kwargs))
        with anyio.CancelScope(shield=True):
            if self._forming is not None:
                group = self._forming
                group.calls.append(cast("_Call[object]", call))
                await group.done.wait()
            else:
                await self._lead(cast("_Call[object]", call))
        return call.result()

    async def close(self) -> None:
        """Carry out what is queued and take no more calls; the store stays open."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            while group := self._forming or self._committing:
                await group.done.wait()

    async def _lead(self, call: _Call[object]) -> None:
        """Form a group, and commit it once the commit under way is done and whoever is ready has joined."""
        self._forming = group = _Group()
        group.calls.append(call)
        if self._committing is None:
            await anyio.lowlevel.checkpoint()
        else:
            await group.turn.wait()
        self._forming, self._committing = None, group
        try:
            await self._commit_all(group.calls)
        finally:
            self._committing = None
            group.done.set()
            if self._forming is not None:
                self._forming.turn.set()

    async def _commit_all(self, calls: list[_Call[object]]) -> None:
        try:
            if self._broken:
                raise self._broken
            if self._inline:
                self._commit(calls)
            else:
                await anyio.to_thread.run_sync(self._commit, calls, limiter=self._thread)
        except BaseException as error:
            self._break(error)
            for call in calls:
                call.error = self._failure()
            if not isinstance(error, StorageError):
                raise

    def _commit(self, calls: list[_Call[object]]) -> None:
        """All at once, as nearly always none fails; otherwise all again, each so that it is undone alone."""
        try:
            with self._store.transaction(), self._store.as_one():
                for call in calls:
                    try:
                        call.answer = call.verb()
                    except Exception as error:
                        raise _OneFailed from error
        except _OneFailed:
            with self._store.transaction():
                for call in calls:
                    call.happen(self._store)

    def _check(self) -> None:
        if self._broken:
            raise self._failure()
        if self._closed:
            raise StorageError("this run has ended; nothing more is recorded by it", fix="run the same command again")

    def _break(self, error: BaseException) -> None:
        self._broken = self._broken or (
            error if isinstance(error, StorageError) else StorageError(f"recording was interrupted ({error!r})")
        )

    def _failure(self) -> StorageError:
        """One for each caller: a traceback belongs to one task."""
        broken = cast("StorageError", self._broken)
        return StorageError(str(broken), fix=broken.fix)
