"""The use cases, and the only place that picks adapters, reads the environment and hands out the real clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from batchrunner import demands
from batchrunner.errors import BatchrunnerError, UsageError
from batchrunner.manifest import (
    Loaded,
    Options,
    configuration,
    load_manifest,
    parse_manifest,
    prompts_manifest,
    recall_manifest,
)
from batchrunner.media import frames
from batchrunner.model import MODEL, Batch, FrameDialect, Money, ReplayProof, WantedJob
from batchrunner.moments import Window
from batchrunner.outputs import OutputFolder
from batchrunner.providers.access import checked_base_url, checked_key
from batchrunner.providers.addresses import is_loopback
from batchrunner.providers.base import Provider
from batchrunner.providers.http import HttpClient
from batchrunner.providers.toapis import ToApis
from batchrunner.purchase import key_fingerprint
from batchrunner.rehearsing import EMULATOR, rehearsal_of
from batchrunner.report.summary import amount
from batchrunner.run_request import RunRequest
from batchrunner.selection import Selection, select
from batchrunner.session import Session
from batchrunner.settings import API_BASE_URL
from batchrunner.standing import Standing, standing_of
from batchrunner.states import JobState
from batchrunner.store.base import Comparison, Receipt, Store
from batchrunner.store.connect import is_of_today
from batchrunner.store.lock import DatabaseLock
from batchrunner.store.mounts import ALLOW
from batchrunner.store.shelf import DiskShelf
from batchrunner.store.sqlite import SqliteStore
from batchrunner.takes import with_asked

DATABASE = Path(".batchrunner/batchrunner.db")
REHEARSAL_DATABASE = Path(".batchrunner/rehearsal.db")
REHEARSAL_FOLDER = Path("rehearsal")
"""What the emulator makes never lies among real clips."""


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@contextmanager
def load(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    prompts: Sequence[str] = (),
    sets: Sequence[str] = (),
    allowed: Sequence[Path] = (),
    today: date | None = None,
    window: Window | None = None,
) -> Iterator[Loaded]:
    """Read, check and expand a manifest, or some prompts alone; `ManifestError` with every mistake in it.

    Its jobs lie on the disk, as long as the block lasts. `{date}` is `today`, or else what the manifest's window, or
    `window` where it has none, makes of the clock.
    """
    options = _options(environ, sets=sets, allowed=allowed, today=today, window=window)
    with DiskShelf() as shelf:
        if path is not None:
            yield load_manifest(path, probe=frames.inspect, options=options, shelf=shelf)
        else:
            data, name = prompts_manifest(prompts, sets)
            yield parse_manifest(data, name, probe=frames.inspect, options=options, shelf=shelf)


def _options(
    environ: Mapping[str, str],
    *,
    sets: Sequence[str],
    allowed: Sequence[Path],
    today: date | None,
    window: Window | None,
) -> Options:
    return Options(
        sets=tuple(sets),
        allowed=tuple(one.absolute() for one in allowed),
        now=now(),
        today=today,
        window=window,
        prices=configuration.prices(environ),
    )


@contextmanager
def open_run(request: RunRequest, environ: Mapping[str, str]) -> Iterator[Session]:
    """Everything that can be wrong without the network is found here; nothing is sent and no job is written yet."""
    with ExitStack() as stack:
        session = _recalled(request, environ, stack)
        if session is None:
            with _loaded(request, environ) as (loaded, borrows):
                session = _session(loaded, request, environ, stack, borrows_prices=borrows)
        yield session


def _recalled(request: RunRequest, environ: Mapping[str, str], stack: ExitStack) -> Session | None:
    """The session of a manifest that is as it was when it was adopted last: its jobs are those that are stored.

    None in any doubt; then the manifest is expanded and compared, which takes long for many jobs and is always right.
    """
    if (found := _receipt(request, environ)) is None:
        return None
    batch_id, receipt, loaded = found
    demands.check_tags(loaded, request.tags)
    loaded, borrows = demands.priced(loaded, request, environ)
    with ExitStack() as attempt:
        session = _session(loaded, request, environ, attempt, borrows_prices=borrows)
        current = (batch_id, receipt) in session.store.receipts(receipt.manifest)
        if session.batch.id != batch_id or not current:  # another command was quicker
            return None
        demands.check_key(request, lambda: bool(session.counts()))
        stack.push(attempt.pop_all())
    return session


def _receipt(request: RunRequest, environ: Mapping[str, str]) -> tuple[int, Receipt, Loaded] | None:
    """The batch that the manifest was adopted for as it is now, and what its receipt tells."""
    database = _database(request)
    if request.manifest is None or request.redo or request.saved or not database.exists():
        return None
    with suppress(BatchrunnerError):  # the whole way says what is wrong
        options = _options(
            environ, sets=request.sets, allowed=request.allowed, today=request.date, window=request.window
        )
        if not is_of_today(database):
            return None
        with closing(SqliteStore.read(database)) as store:
            for batch_id, receipt in store.receipts(str(request.manifest.absolute())):
                sources = store.receipt_sources(batch_id)
                if loaded := recall_manifest(request.manifest, receipt, sources, options=options):
                    return batch_id, receipt, loaded
    return None


@contextmanager
def open_plan(request: RunRequest, environ: Mapping[str, str]) -> Iterator[tuple[Session, Loaded]]:
    """The same without a lock and without writing: a run may be at work, and there may be no database yet.

    The session is one snapshot of the database, for questions only.
    """
    with ExitStack() as stack:
        loaded, borrows = stack.enter_context(_loaded(request, environ))
        yield _session(loaded, request, environ, stack, borrows_prices=borrows, reads_only=True), loaded


@contextmanager
def _loaded(request: RunRequest, environ: Mapping[str, str]) -> Iterator[tuple[Loaded, bool]]:
    """The manifest with the prices that the request needs, and whether they are the emulator's own."""
    manifest = load(
        request.manifest,
        environ,
        prompts=request.prompts,
        sets=request.sets,
        allowed=request.allowed,
        today=request.date,
        window=request.window,
    )
    with manifest as loaded:
        demands.check_tags(loaded, request.tags)
        demands.check_key(request, lambda: any(request.selects(job) for job in loaded.jobs))
        yield demands.priced(loaded, request, environ)


def _session(
    loaded: Loaded,
    request: RunRequest,
    environ: Mapping[str, str],
    stack: ExitStack,
    *,
    borrows_prices: bool,
    reads_only: bool = False,
) -> Session:
    """The folder, the database and what the manifest would change in it; they are closed with the stack."""
    manifest = loaded.manifest
    rehearsal, rehearse = rehearsal_of(request, now=now) if request.emulator else (None, None)
    endpoint = EMULATOR if request.emulator else endpoint_of(environ)
    database = _database(request)
    root = request.out or (REHEARSAL_FOLDER / manifest.output_dir if request.emulator else Path(manifest.output_dir))
    folder = OutputFolder(root.absolute())
    if not reads_only:
        folder.check()
    is_new = not database.exists()
    currency = manifest.prices.currency if manifest.prices else None
    planned = Batch(id=0, name=manifest.name, endpoint=endpoint, currency=currency)
    opened = _opened_to_read if reads_only else _opened
    store, batch = opened(database, planned, environ, stack)
    if batch.endpoint != endpoint:
        raise UsageError(
            f"batch {batch.name} in {database} belongs to {batch.endpoint}, this run asks {endpoint}; nothing was sent",
            fix="choose another database with --db PATH, so that their clips never mix",
        )
    limits = manifest.limits
    if request.max_in_flight is not None:
        limits = replace(limits, max_in_flight=request.max_in_flight)
    return Session(
        request=request,
        manifest=manifest,
        warnings=loaded.warnings,
        private_urls=loaded.private_urls,
        database=database,
        folder=folder,
        store=store,
        batch=batch,
        plan=_compared(loaded, store, batch, request),
        purchases=store.purchases(only=request.only, tags=request.tags, limit=request.limit),
        limits=limits.scaled(request.speed) if request.emulator else limits,
        environ=environ,
        is_new=is_new,
        receipt=None if request.redo else loaded.receipt,
        sources=loaded.sources,
        is_recalled=loaded.is_recalled,
        borrows_prices=borrows_prices,
        rehearsal=rehearsal,
        proof=None if request.emulator else replay_proof(store, environ),
        connect=rehearse(database, manifest.frames) if rehearse else partial(_connect, environ, manifest.frames),
        clock=now,
    )


def _database(request: RunRequest) -> Path:
    return request.database or (REHEARSAL_DATABASE if request.emulator else DATABASE)


def _compared(loaded: Loaded, store: Store, batch: Batch, request: RunRequest) -> Comparison:
    """What the manifest asks for, and what persons asked for beside it, against what is stored."""
    if loaded.is_recalled:
        return store.recall(batch.id)
    asked = store.asked(batch.id)
    wanted: Iterable[WantedJob] = with_asked(loaded.jobs, asked) if asked else loaded.jobs
    return store.compare(batch.id, wanted, redo=request.paid_again)


def has_begun(request: RunRequest, batch: str) -> bool:
    """Whether an earlier run carried out the same saved plan."""
    assert request.saved is not None
    database = request.database or DATABASE
    if not database.exists():
        return False
    store = SqliteStore.read(database)
    try:
        known = store.batch(batch)
        return known is not None and store.has_run(known.id, request.saved)
    finally:
        store.close()


def _opened(database: Path, batch: Batch, environ: Mapping[str, str], stack: ExitStack) -> tuple[SqliteStore, Batch]:
    """The database, ours until the stack is closed, and the batch in it."""
    stack.enter_context(DatabaseLock(database, now=now(), networked=bool(environ.get(ALLOW))))
    store = SqliteStore.open(database)
    stack.callback(store.close)
    _check_currency(store, batch)
    return store, store.open_batch(batch.name, endpoint=batch.endpoint, currency=batch.currency, now=now())


def _opened_to_read(
    database: Path, batch: Batch, environ: Mapping[str, str], stack: ExitStack
) -> tuple[SqliteStore, Batch]:
    """One snapshot of the database, and the batch as a run would find it; one that is new has the id 0."""
    store = SqliteStore.planning(database)
    stack.callback(store.close)
    stack.enter_context(store.transaction())
    _check_currency(store, batch)
    known = store.batch(batch.name)
    if known is None:
        return store, batch
    endpoint = known.endpoint if store.money(known.id) != Money() else batch.endpoint  # a batch without purchases moves
    return store, replace(known, endpoint=endpoint, currency=batch.currency or known.currency)


def _check_currency(store: Store, planned: Batch) -> None:
    """What was bought in one currency can be held below no cap in another."""
    known = store.batch(planned.name)
    if known is None or None in (known.currency, planned.currency) or known.currency == planned.currency:
        return
    if money := store.money(known.id).spent + store.money(known.id).committed:
        raise UsageError(
            f"batch {known.name} was bought with prices in {known.currency} ({amount(money, known.currency)}), "
            f"these are in {planned.currency} and cannot be added; nothing was sent",
            fix=f"a rehearsal can begin anew: remove {REHEARSAL_DATABASE}"
            if known.endpoint == EMULATOR
            else f"give the prices in {known.currency}, or another `name:` to what is new",
        )


async def _connect(environ: Mapping[str, str], dialect: FrameDialect, stack: AsyncExitStack) -> Provider:
    """The provider that a run asks."""
    base_url = checked_base_url(environ.get("TOAPIS_BASE_URL") or API_BASE_URL)
    http = HttpClient(base_url, checked_key(environ.get("TOAPIS_API_KEY")))
    return ToApis(await stack.enter_async_context(http), dialect=dialect, endpoint=endpoint_of(environ))


def replay_proof(store: Store, environ: Mapping[str, str]) -> ReplayProof | None:
    """What `doctor --prove-replay` saw last, at this address and with this key; None where it never looked."""
    try:
        base_url = checked_base_url(environ.get("TOAPIS_BASE_URL") or API_BASE_URL)
        key = key_fingerprint(checked_key(environ.get("TOAPIS_API_KEY")), salt=store.salt())
    except BatchrunnerError:  # who needs them says so
        return None
    return store.replay_proof(base_url=base_url, model=MODEL, key=key)


def endpoint_of(environ: Mapping[str, str]) -> str:
    """Whose tasks a run makes: the API's host; this machine is one host whatever it is called."""
    host = urlsplit(checked_base_url(environ.get("TOAPIS_BASE_URL") or API_BASE_URL)).hostname or ""
    return "localhost" if is_loopback(host) else host


@contextmanager
def reading(database: Path | None, name: str | None) -> Iterator[tuple[Store, Batch]]:
    """A batch of a database opened for reading only, which never waits for a run; by default the one last worked on."""
    path = database or DATABASE
    store = SqliteStore.read(path)
    try:
        batch = store.batch(name) if name else next(iter(store.batches()), None)
        if batch is None:
            known = ", ".join(batch.name for batch in store.batches()) or "none"
            raise UsageError(f"there is no batch {name or ''} in {path}", fix=f"the batches there are: {known}")
        yield store, batch
    finally:
        store.close()


@contextmanager
def looking(database: Path | None) -> Iterator[Store]:
    """A database opened for reading only, which never waits for a run."""
    store = SqliteStore.read(database or DATABASE)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def deciding(
    database: Path | None, words: Sequence[str], *, states: Sequence[JobState] = ()
) -> Iterator[tuple[Store, Selection]]:
    """A database that is ours to change, and what the words are about; `LockedError` while a run works on it."""
    path = database or DATABASE
    if not path.exists():
        SqliteStore.read(path)  # which says so, and makes no file
    with DatabaseLock(path, now=now()):
        store = SqliteStore.open(path)
        try:
            yield store, select(store, words, states=states)
        finally:
            store.close()


def standing(database: Path | None, name: str | None) -> Standing:
    """Where a batch stands now."""
    with reading(database, name) as (store, batch):
        return standing_of(store, batch, at=now(), is_rehearsed=batch.endpoint == EMULATOR)
