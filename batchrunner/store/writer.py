"""The store's verbs for tasks: awaitable, durable when they return, sharing commits.

Calls that come while a commit is under way form the group of the next one, and the first of them carries it out: one
fsync for all, no task of their own, and each caller is woken once. What nobody waits for is deferred to a commit that is
made anyway. All calls happen in the order in which they came. Nothing here knows what the verbs do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar, cast

import anyio

from batchrunner.errors import StorageError
from batchrunner.store.base import Store

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 0.03
"""Seconds at most that a call waits for a commit that others ask for, where it can."""


class _Call(Generic[T]):
    """One verb that waits for its commit."""

    def __init__(self, verb: Callable[[], T], *, deferred: bool = False) -> None:
        self.verb = verb
        self.deferred = deferred
        """Whether nobody hears of its failure."""
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


class Group:
    """The calls of one commit, until it is done: whoever waits to hear of that keeps none of them in memory."""

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
        self._forming: Group | None = None
        self._committing: Group | None = None
        self._next: Group | None = None
        """The next group, while nobody has asked for its commit."""
        self._thread = anyio.CapacityLimiter(1)  # its own: a commit does not wait for the threads that write clips
        self._closed = False
        self._broken: StorageError | None = None

    async def run(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the verb returns, once it is durable.

        A caller that is cancelled before its call is queued leaves no trace; once queued, the call is carried out and
        the caller learns its result before the cancellation reaches it.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        call: _Call[T] = _Call(partial(verb, *args, **kwargs))
        with anyio.CancelScope(shield=True):
            await self._done(self._queued(call))
        return call.result()

    async def join(self, verb: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, for what can wait a moment: mostly others ask for a commit within `PATIENCE`, and this needs none."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        call: _Call[T] = _Call(partial(verb, *args, **kwargs))
        with anyio.CancelScope(shield=True):
            group = self._queued(call)
            with anyio.move_on_after(PATIENCE):
                await group.done.wait()
            await self._done(group)
        return call.result()

    def defer(self, verb: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> Group:
        """Queue a call that nobody waits for: the commit that carries it out, which it does not ask for.

        `flush`, `reach` and `close` see to it that there is one. When the verb raises, what came before it is durable, nothing
        that came after it is carried out, and the writer has ended, as after a commit that failed.
        """
        return self._queued(_Call(partial(verb, *args, **kwargs), deferred=True))

    async def flush(self) -> None:
        """Return once everything that was deferred is durable."""
        if group := self._next or self._forming or self._committing:
            await self.reach(group)
        self._refuse_broken()

    async def reach(self, group: Group) -> None:
        """Return once the commit of a deferred call is done: at no cost where it is already, as it mostly is."""
        with anyio.CancelScope(shield=True):
            await self._done(group)
        self._refuse_broken()

    async def close(self) -> None:
        """Carry out what is queued and take no more calls; the store stays open."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            while group := self._forming or self._committing:
                await group.done.wait()
            if self._next:
                await self._lead(self._next)

    def _queued(self, call: _Call[Any]) -> Group:
        """The group that carries the call out, once somebody asks for its commit."""
        self._check()
        group = self._forming or self._next
        if group is None:
            group = self._next = Group()
        group.calls.append(call)
        return group

    async def _done(self, group: Group) -> None:
        """Ask for a group's commit, where nobody has, and return once it is done."""
        if group is self._next:
            await self._lead(group)
        else:
            await group.done.wait()

    async def _lead(self, group: Group) -> None:
        """Let others join a group, and commit it once the commit under way is done and whoever is ready has joined."""
        self._forming, self._next = group, None
        if self._committing is None:
            await anyio.lowlevel.checkpoint()
        else:
            await group.turn.wait()
        self._forming, self._committing = None, group
        try:
            await self._commit_all(group.calls)
        finally:
            self._committing = None
            group.calls = []
            group.done.set()
            if self._forming is not None:
                self._forming.turn.set()

    async def _commit_all(self, calls: list[_Call[object]]) -> None:
        try:
            if self._broken:
                raise self._broken
            if self._inline:
                done = self._commit(calls)
            else:
                done = await anyio.to_thread.run_sync(self._commit, calls, limiter=self._thread)
        except BaseException as error:
            self._fail(calls, error)
            if not isinstance(error, StorageError):
                raise
        else:
            if done and calls[done - 1].deferred and (lost := calls[done - 1].error):
                self._fail(calls[done - 1 :], lost)

    def _commit(self, calls: list[_Call[object]]) -> int:
        """All at once, as nearly always none fails; otherwise all again, each so that it is undone alone.

        How many were carried out: with a deferred call that fails it ends, as others may rest on it.
        """
        try:
            with self._store.transaction(), self._store.as_one():
                for call in calls:
                    try:
                        call.answer = call.verb()
                    except Exception as error:
                        raise _OneFailed from error
        except _OneFailed:
            with self._store.transaction():
                for done, call in enumerate(calls, 1):
                    call.happen(self._store)
                    if call.deferred and call.error:
                        return done
        return len(calls)

    def _check(self) -> None:
        self._refuse_broken()
        if self._closed:
            raise StorageError("this run has ended; nothing more is recorded by it", fix="run the same command again")

    def _refuse_broken(self) -> None:
        if self._broken:
            raise self._failure()

    def _fail(self, calls: list[_Call[object]], error: BaseException) -> None:
        self._broken = self._broken or (
            error if isinstance(error, StorageError) else StorageError(f"recording was interrupted ({error!r})")
        )
        for call in calls:
            call.error = self._failure()

    def _failure(self) -> StorageError:
        """One for each caller: a traceback belongs to one task."""
        broken = cast("StorageError", self._broken)
        return StorageError(str(broken), fix=broken.fix)
