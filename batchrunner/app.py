"""The use cases, and the only place that picks adapters, reads the environment and hands out the real clock."""

from __future__ import annotations

import os
import random
import shlex
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from batchrunner import answers, plan
from batchrunner.errors import AccountError, BatchrunnerError, ExitCode, ProviderError, StorageError, UsageError
from batchrunner.events import Listener
from batchrunner.manifest import Loaded, Options, load_manifest, parse_manifest, prompts_manifest
from batchrunner.media import frames
from batchrunner.model import Batch, Job, Money, WantedJob
from batchrunner.outputs import OutputFolder, write_whole
from batchrunner.providers.http import HttpClient, checked_base_url, checked_key, is_loopback
from batchrunner.providers.toapis import ToApis
from batchrunner.report import summary
from batchrunner.runner.board import Stop
from batchrunner.runner.context import Options as RunOptions
from batchrunner.runner.loop import Outcome, Runner
from batchrunner.settings import API_BASE_URL, Limits
from batchrunner.states import IN_FLIGHT, JobState
from batchrunner.store.base import Store
from batchrunner.store.lock import DatabaseLock
from batchrunner.store.sqlite import SqliteStore

DATABASE = Path(".batchrunner/batchrunner.db")
REHEARSAL_DATABASE = Path(".batchrunner/rehearsal.db")
REHEARSAL_FOLDER = Path("rehearsal")
"""What the emulator makes never lies among real clips."""
REPORT = "report.html"
EMULATOR_KEY = "sk-emulator-needs-no-key"
EMULATOR_SPEED = 100.0
PREFLIGHT_TRIES = 3


STOPPING = "nothing more is bought; requests under way get 30 s to be answered, then this run leaves"
LEAVING = "left at once; what was being submitted is in doubt: run the same command with --settle 900 to look it up"
SHOW_CURSOR = "\x1b[?25h"
"""A live view hides the cursor; leaving at once must give it back."""


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def load(
    path: Path | None, *, prompts: Sequence[str] = (), sets: Sequence[str] = (), allowed: Sequence[Path] = ()
) -> Loaded:
    """Read, check and expand a manifest, or some prompts alone; `ManifestError` with every mistake in it."""
    today = now().astimezone().date()
    options = Options(sets=tuple(sets), allowed=tuple(one.absolute() for one in allowed), today=today)
    if path is not None:
        return load_manifest(path, probe=frames.inspect, options=options)
    data, name = prompts_manifest(prompts, sets)
    return parse_manifest(data, name, probe=frames.inspect, options=options)


def check_tags(loaded: Loaded, tags: Sequence[str]) -> None:
    """`UsageError` when no job has one of the tags: a slip of the keyboard must not look like a finished batch."""
    known = sorted({tag for job in loaded.jobs for tag in job.tags})
    for tag in tags:
        if tag not in known:
            listed = f"the tags are {', '.join(known)}" if known else "give jobs `tags: [nightly]` in the manifest"
            raise UsageError(f"no job has the tag {tag!r}; nothing was sent", fix=listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What the user asked of `run`."""

    manifest: Path | None
    """None when there are only `prompts`."""
    prompts: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    """`key=value`, above everything that the manifest says."""
    allowed: tuple[Path, ...] = ()
    """Folders beside the manifest's that frames and rows may lie in."""
    database: Path | None = None
    out: Path | None = None
    emulator: bool = False
    speed: float = EMULATOR_SPEED
    max_in_flight: int | None = None
    max_cost: int | None = None
    """Micro-units."""
    deadline: datetime | None = None
    limit: int | None = None
    only: str | None = None
    tags: tuple[str, ...] = ()
    settle: float = 0.0

    @property
    def source(self) -> str:
        """The manifest, or the prompts, as the command named them."""
        words = [word for prompt in self.prompts for word in ("-p", prompt)]
        if self.manifest is not None:
            words = [str(self.manifest)]
        return shlex.join([*words, *(word for one in self.sets for word in ("--set", one))])

    @property
    def selects(self) -> Callable[[Job | WantedJob], bool]:
        """Which jobs the run is about."""
        return RunOptions(only=self.only, tags=self.tags).selects


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run came to."""

    exit_code: ExitCode
    outcome: Outcome
    money: Money
    currency: str | None
    failures: list[summary.Failures]
    paused: str | None
    folder: Path
    database: Path


@dataclass(slots=True, kw_only=True)
class Session:
    """One `run`: the manifest is read, the database is ours, the plan is made; nothing has been sent."""

    request: RunRequest
    loaded: Loaded
    database: Path
    folder: OutputFolder
    store: Store
    batch: Batch
    plan: plan.Plan
    limits: Limits
    environ: Mapping[str, str]
    is_new: bool
    """Whether the database was made by this run."""

    @property
    def needs_provider(self) -> bool:
        """Whether there is anything to send, to collect or to look up."""
        return self.plan.needs_provider or bool(self.plan.in_doubt and self.request.settle)

    @property
    def cap(self) -> int | None:
        """What the batch may cost in all."""
        caps = [cap for cap in (self.request.max_cost, self.loaded.manifest.max_cost) if cap is not None]
        return min(caps, default=None)

    def price(self, billing_key: str, seconds: int) -> int | None:
        """What one clip costs, by the user's own prices."""
        prices = self.loaded.manifest.prices
        return prices.of(billing_key, seconds) if prices else None

    def money(self) -> Money:
        """What the batch has cost so far."""
        return self.store.money(self.batch.id)

    def counts(self) -> Mapping[JobState, int]:
        """Wanted, selected jobs by state, as stored."""
        return self.store.counts(self.batch.id, only=self.request.only, tags=self.request.tags)

    def missing_files(self) -> list[Job]:
        """Jobs that are done but whose clip is no longer where it was put."""
        done = self.store.jobs(self.batch.id, states=(JobState.DONE,))
        return [job for job in done if job.clip is not None and not Path(job.clip.path).exists()]

    def check_account(self) -> None:
        """`AccountError` when there is no usable key; nothing is sent to find out."""
        if not self.request.emulator:
            checked_key(self.environ.get("TOAPIS_API_KEY"))

    def adopt_plan(self) -> None:
        """Write the plan to the database: from here on the jobs exist, and what the last run left unanswered is in doubt."""
        with self.store.transaction():
            self.store.apply(self.batch.id, self.plan.changes, now=now())
            self.store.unpause(self.batch.id, now=now())
            self.store.recover(self.batch.id, now=now())

    def execute(self, listener: Listener) -> Report:
        """Submit, poll, download and verify until the end or until something stops the run."""
        run_id = self.store.start_run(self.batch.id, pid=os.getpid(), host=socket.gethostname(), now=now())
        try:
            outcome = anyio.run(self._main, listener)
        except BatchrunnerError as error:
            self._finish(run_id, error.exit_code)
            raise
        report = self.report(outcome)
        self._finish(run_id, report.exit_code)
        return report

    def write_report(self) -> Path:
        """Write the report page beside the clips, whole or not at all; its path."""
        from batchrunner.report import page  # a template engine, which most runs do not need

        path = self.folder.root / REPORT
        html = page.render(
            self.store.batch(self.batch.name) or self.batch,
            self.store.jobs(self.batch.id),
            counts=self.store.counts(self.batch.id),
            money=self.money(),
            folder=self.folder.root,
            at=now(),
        )
        return write_whole(path, html.encode("utf-8"))

    def _finish(self, run_id: int, code: ExitCode) -> None:
        try:
            self.store.finish_run(run_id, exit_code=code, now=now())
        except StorageError:  # the run's own error says more
            return

    def idle_report(self) -> Report:
        """The report of a run that has nothing to do."""
        run_id = self.store.start_run(self.batch.id, pid=os.getpid(), host=socket.gethostname(), now=now())
        self.store.finish_run(run_id, exit_code=ExitCode.DONE, now=now())
        doubts = len(self.plan.in_doubt)
        counts = dict(self.counts())
        return self.report(Outcome(stops=frozenset(), counts=counts, blocked={}, left=0, purchases=0, doubts=doubts))

    def report(self, outcome: Outcome) -> Report:
        """What the outcome means, with the rows behind it."""
        failed = self.store.jobs(self.batch.id, states=(JobState.FAILED,))
        batch = self.store.batch(self.batch.name)
        return Report(
            exit_code=summary.exit_code(outcome),
            outcome=outcome,
            money=self.money(),
            currency=self.batch.currency,
            failures=summary.failures(job for job in failed if self.request.selects(job)),
            paused=batch.paused if batch else None,
            folder=self.folder.root,
            database=self.database,
        )

    async def _main(self, listener: Listener) -> Outcome:
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(self._http(stack))
            manifest = self.loaded.manifest
            provider = ToApis(http, dialect=manifest.frames, endpoint=self.batch.endpoint)
            runner = Runner(
                batch=self.batch,
                store=self.store,
                provider=provider,
                outputs=self.folder,
                limits=self.limits,
                options=RunOptions(
                    only=self.request.only,
                    tags=self.request.tags,
                    limit=self.request.limit,
                    cap=self.cap,
                    deadline=self.request.deadline,
                    settle=self.request.settle,
                    price=lambda job: self.price(job.request.billing_key, job.request.duration),
                ),
                now=now,
                chance=random.SystemRandom(),
                listener=listener,
                private_urls=self.loaded.private_urls,
            )
            return await self._guarded(runner, provider)

    async def _guarded(self, runner: Runner, provider: ToApis) -> Outcome:
        """Preflight and run under the signals; an error comes out as what it is, not in a group."""
        outcome: Outcome | None = None
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            try:
                with anyio.CancelScope() as asking:
                    group.start_soon(_watch_signals, runner, asking, name="signals")
                    await self._preflight(provider)
                outcome = await runner.run()
            except Exception as error:  # noqa: BLE001 - raised again below, outside the group
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        assert outcome is not None
        return outcome

    def _http(self, stack: AsyncExitStack) -> HttpClient:
        if not self.request.emulator:
            base_url = checked_base_url(self.environ.get("TOAPIS_BASE_URL") or API_BASE_URL)
            return HttpClient(base_url, checked_key(self.environ.get("TOAPIS_API_KEY")))
        from batchrunner.emulator.server import Emulator  # it loads a web server, which only a rehearsal needs

        state = self.database.with_name(self.database.name + ".emulator")
        emulator = stack.enter_context(Emulator.start(state_dir=state, speed=self.request.speed))
        return HttpClient(emulator.base_url, EMULATOR_KEY)

    async def _preflight(self, provider: ToApis) -> None:
        """Ask for the balance, which costs nothing, before the first request that does."""
        for attempt in range(1, PREFLIGHT_TRIES + 1):
            exchange = await provider.balance()
            if exchange.status is not None:
                outcome = answers.balance(exchange, now=now())
                if isinstance(outcome, answers.AccountStop):
                    raise AccountError(
                        f"the provider refuses this key: {outcome.message}; nothing was sent",
                        fix="check TOAPIS_API_KEY and the account's balance, then run the same command",
                    )
                return
            if attempt < PREFLIGHT_TRIES:
                await anyio.sleep(attempt)
        raise ProviderError(
            f"{provider.endpoint} cannot be reached ({exchange.error}); nothing was sent",
            fix="check the network and TOAPIS_BASE_URL, then run the same command",
        )


@contextmanager
def open_run(request: RunRequest, environ: Mapping[str, str]) -> Iterator[Session]:
    """Everything that can be wrong without the network is found here; nothing is sent and no job is written yet."""
    loaded = load(request.manifest, prompts=request.prompts, sets=request.sets, allowed=request.allowed)
    check_tags(loaded, request.tags)
    if request.only is not None and not any(request.selects(job) for job in loaded.jobs):
        raise UsageError(
            f"no job has a key that matches {request.only!r}; nothing was sent",
            fix="see the keys: batchrunner ls, or leave --only out",
        )
    manifest = loaded.manifest
    if request.max_cost is not None:
        _check_prices(loaded)
    endpoint = "emulator" if request.emulator else _endpoint(environ)
    database = request.database or (REHEARSAL_DATABASE if request.emulator else DATABASE)
    root = request.out or (REHEARSAL_FOLDER / manifest.output_dir if request.emulator else Path(manifest.output_dir))
    folder = OutputFolder(root.absolute())
    folder.check()
    with ExitStack() as stack:
        is_new = not database.exists()
        stack.enter_context(DatabaseLock(database, now=now()))
        store = SqliteStore.open(database)
        stack.callback(store.close)
        currency = manifest.prices.currency if manifest.prices else None
        batch = store.open_batch(manifest.name, endpoint=endpoint, currency=currency, now=now())
        if batch.endpoint != endpoint:
            raise UsageError(
                f"batch {batch.name} in {database} belongs to {batch.endpoint}, this run asks {endpoint}; nothing was sent",
                fix="choose another database with --db PATH, so that their clips never mix",
            )
        limits = manifest.limits
        if request.max_in_flight is not None:
            limits = replace(limits, max_in_flight=request.max_in_flight)
        yield Session(
            request=request,
            loaded=loaded,
            database=database,
            folder=folder,
            store=store,
            batch=batch,
            plan=plan.plan(loaded.jobs, store.stored_jobs(batch.id)),
            limits=limits.scaled(request.speed) if request.emulator else limits,
            environ=environ,
            is_new=is_new,
        )


def _check_prices(loaded: Loaded) -> None:
    """A ceiling holds only what has a price."""
    prices = loaded.manifest.prices
    requests = (job.request for job in loaded.jobs)
    lacking = {
        one.billing_key for one in requests if prices is None or prices.of(one.billing_key, one.duration) is None
    }
    if lacking:
        raise UsageError(
            f"--max-cost needs prices, and the manifest has none for {', '.join(sorted(lacking))}; nothing was sent",
            fix="add `prices: {currency: USD, per_second: {720P: …}}` to the manifest",
        )


def _endpoint(environ: Mapping[str, str]) -> str:
    """Whose tasks a run makes: the API's host; this machine is one host whatever it is called."""
    host = urlsplit(checked_base_url(environ.get("TOAPIS_BASE_URL") or API_BASE_URL)).hostname or ""
    return "localhost" if is_loopback(host) else host


async def _watch_signals(runner: Runner, asking: anyio.CancelScope) -> None:
    """The first signal ends the run in good order, the second at once; both are safe."""
    import signal

    kinds = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # nohup asks us to stay
        kinds.append(hangup)
    with anyio.open_signal_receiver(*kinds) as signals:
        stopping = False
        async for number in signals:
            stop = Stop.SIGINT if number == signal.SIGINT else Stop.SIGTERM
            if stopping:
                with suppress(AttributeError, OSError, ValueError):  # nobody may be reading any more
                    shown = SHOW_CURSOR if sys.stderr.isatty() else ""
                    sys.stderr.write(f"{shown}\n{LEAVING}\n")
                    sys.stderr.flush()
                os._exit(ExitCode.SIGINT if stop is Stop.SIGINT else ExitCode.SIGTERM)
            stopping = True
            runner.stop(stop)
            runner.held("stopping", STOPPING)
            asking.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a batch stands, for `status`."""

    batch: Batch
    counts: Mapping[JobState, int]
    dropped: Mapping[JobState, int]
    """Jobs that the manifest no longer has and that are not final: what was bought is collected all the same."""
    money: Money


NOT_FINAL = (*sorted(IN_FLIGHT), JobState.FETCHING)
"""Bought, or perhaps bought, and not yet ours."""


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


def standing(database: Path | None, name: str | None) -> Standing:
    """Where a batch stands now."""
    with reading(database, name) as (store, batch):
        open_jobs = store.jobs(batch.id, states=NOT_FINAL, wanted_only=False)
        dropped = Counter(job.state for job in open_jobs if not job.wanted)
        return Standing(batch=batch, counts=store.counts(batch.id), dropped=dropped, money=store.money(batch.id))
