"""One `run` of the command line: the plan is made, then carried out under the signals, then told."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import anyio

from batchrunner import canary, nights, plan, preview
from batchrunner.budget import Caps, Used
from batchrunner.conduct import conduct
from batchrunner.diagnostic import Diagnostic
from batchrunner.durable import write_whole
from batchrunner.errors import BatchrunnerError, ExitCode, StorageError
from batchrunner.events import Listener, RunEvent
from batchrunner.forecast import FEWEST, WINDOW
from batchrunner.hours import Hours
from batchrunner.manifest import Manifest
from batchrunner.media import clips
from batchrunner.model import Batch, Frame, Money, ReplayProof
from batchrunner.nights import Unfinished
from batchrunner.outputs import OutputFolder, size_of
from batchrunner.preview import Landing, Preview, Priced
from batchrunner.process import Watchdog, ensure_files, keep_what_is_loaded
from batchrunner.providers import proxies
from batchrunner.providers.access import checked_key
from batchrunner.providers.base import Provider
from batchrunner.purchase import Chance
from batchrunner.report import summary
from batchrunner.report.rehearsal import Rehearsal
from batchrunner.run_request import RunRequest
from batchrunner.runner.board import Stop
from batchrunner.runner.context import Options as RunOptions
from batchrunner.runner.loop import Outcome, Runner
from batchrunner.settings import API_BASE_URL, ASSET_LIFETIME, Limits
from batchrunner.states import JobState
from batchrunner.store.base import Comparison, Planned, Purchases, Receipt, SourceFile, Store

REPORT = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run came to."""

    exit_code: ExitCode
    outcome: Outcome
    money: Money
    currency: str | None
    failures: list[summary.Failures]
    paused: str | None
    paused_message: str | None
    folder: Path
    database: Path


@dataclass(slots=True, kw_only=True)
class Session:
    """One `run`: the manifest is read, the database is ours, the plan is made; nothing has been sent."""

    request: RunRequest
    manifest: Manifest
    warnings: tuple[Diagnostic, ...]
    private_urls: Mapping[str, str]
    """By the frame's sha256, whole URLs that may not be stored or shown."""
    database: Path
    folder: OutputFolder
    store: Store
    batch: Batch
    plan: Comparison
    purchases: Purchases
    """What this run would send: of the plan, what `--only`, `--tag` and `--limit` leave."""
    limits: Limits
    environ: Mapping[str, str]
    is_new: bool
    """Whether the database was made by this run."""
    borrows_prices: bool
    """Whether a rehearsal counts with the emulator's prices, for want of others."""
    rehearsal: Rehearsal | None
    """What a run on the emulator would have been, once it has ended."""
    proof: ReplayProof | None
    """What is known of a repeated purchase id at the provider."""
    connect: Callable[[AsyncExitStack], Awaitable[Provider]]
    """Opens the provider for as long as the stack lives."""
    clock: Callable[[], datetime]
    """The wall clock."""
    receipt: Receipt | None = None
    """How the next run can tell that this manifest is as it was."""
    sources: Sequence[SourceFile] = ()
    """What goes with it."""
    is_recalled: bool = False
    """Whether that was told already: the jobs are those that are stored."""

    @property
    def needs_provider(self) -> bool:
        """Whether there is anything to send, to collect or to look up."""
        buys = self.plan.to_send and self.hours.opens_at is None
        return bool(buys or self.plan.collecting or (self.plan.in_doubt and self.request.settle))

    @property
    def proxy(self) -> tuple[str, str] | None:
        """The variable that names the proxy which requests go over, and its host; None when they go straight."""
        base_url = self.environ.get("TOAPIS_BASE_URL") or API_BASE_URL
        return None if self.request.emulator else proxies.over(base_url, self.environ)

    @property
    def caps(self) -> Caps:
        """What may be spent: the manifest's budget, and `--max-cost` where that is lower."""
        caps = self.manifest.caps
        given = [cap for cap in (self.request.max_cost, caps.max_cost) if cap is not None]
        return replace(caps, max_cost=min(given, default=None))

    @property
    def canaries(self) -> int | None:
        """Canaries of each kind that is new here; None leaves it to `canary.needed`, 0 sends all at once."""
        return self.manifest.canary if self.request.canary else 0

    @property
    def hours(self) -> Hours:
        """When this run may buy and when it ends; the options go above the manifest, whose window is not about rehearsals."""
        request, manifest = self.request, self.manifest
        window = request.window or (None if request.emulator else manifest.window)
        return Hours(
            window=None if request.at_any_time else window,
            deadline=request.deadline if request.deadline is not None else manifest.deadline,
            max_duration=request.max_duration if request.max_duration is not None else manifest.max_duration,
            now=self.clock(),
        )

    @property
    def waits_for_night(self) -> bool:
        """Whether all that there is to do is to wait until the window opens."""
        return self.hours.opens_at is not None and bool(self.purchases.clips) and not self.needs_provider

    @property
    def is_dated(self) -> bool:
        """Whether each night is a batch of its own."""
        return self.manifest.date is not None and self.manifest.date.isoformat() in self.batch.name

    def unfinished_nights(self) -> list[Unfinished]:
        """Other nights of this manifest that have something open."""
        path, day = self.request.manifest, self.manifest.date
        if path is None or day is None or not self.is_dated:
            return []
        return list(nights.unfinished(self.store, self.batch, day=day, manifest=path.absolute()))

    def used(self) -> Used:
        """What counts against the caps today."""
        today = self.clock().astimezone().date()
        if self.batch.id:
            return self.store.used(self.batch.id, day=today, tags=self.caps.tags)
        # a batch that is only planned: others in its currency may have used the caps that it shares with them
        sharing = (other for other in self.store.batches() if (other.currency or "") == (self.batch.currency or ""))
        shared = next((self.store.used(other.id, day=today) for other in sharing), Used())
        return Used(per_day=shared.per_day, per_month=shared.per_month)

    def price(self, billing_key: str, seconds: int) -> int | None:
        """What one clip costs, by the user's own prices."""
        prices = self.manifest.prices
        return prices.of(billing_key, seconds) if prices else None

    def money(self) -> Money:
        """What the batch has cost so far."""
        return self.store.money(self.batch.id)

    def counts(self) -> Mapping[JobState, int]:
        """Wanted, selected jobs by state, as stored."""
        return self.store.counts(self.batch.id, only=self.request.only, tags=self.request.tags)

    def missing_files(self) -> list[str]:
        """Keys of jobs that are done but whose clip is no longer where it was put."""
        return [key for key, path in self.store.saved_files(self.batch.id) if not os.path.exists(path)]  # noqa: PTH110  (there may be a million)

    def check_account(self) -> None:
        """`AccountError` when there is no usable key; nothing is sent to find out."""
        if not self.request.emulator:
            checked_key(self.environ.get("TOAPIS_API_KEY"))

    def narrow(self, limit: int) -> None:
        """Send at most so many."""
        self.request = replace(self.request, limit=limit)
        self.purchases = self.store.purchases(only=self.request.only, tags=self.request.tags, limit=limit)

    def sent(self) -> Iterator[Planned]:
        """The jobs that this run would send, in their order."""
        return preview.chosen(self.store.planned(to_send=True), self.request.selects, self.request.limit)

    def leaving(self) -> Iterator[tuple[Frame, int]]:
        """The frames that leave this machine for them, and their bytes; what the provider still has does not."""
        request, fresh = self.request, self.clock() - timedelta(seconds=ASSET_LIFETIME)
        for frame in self.store.outgoing(only=request.only, tags=request.tags, limit=request.limit):
            asset = self.store.asset(frame.sha256, endpoint=self.batch.endpoint)
            if asset is None or asset.uploaded_at < fresh:
                yield frame, size_of(Path(frame.source))

    def preview(self) -> Preview:
        """What this run would do and buy."""
        bought, caps, used = self.purchases, self.caps, self.used()
        cost, files = plan.cost(bought.kinds, self.price), [size for _, size in self.leaving()]
        times = {kind: self._past_durations(*kind) for kind in bought.kinds}
        forms, verdicts = self._all_forms() if self.canaries != 0 else {}, self.store.verdicts(self.batch.endpoint)
        ahead = canary.flocks(forms, verdicts, dialect=self.manifest.frames, asked=self.canaries)
        return Preview(
            plan=self.plan,
            purchases=bought,
            cost=cost,
            cost_again=plan.cost(bought.again, self.price),
            caps=caps,
            used=used,
            fit=preview.fit(bought, self._priced, caps, used, cost),
            uploads=len(files),
            upload_bytes=sum(files),
            outlook=preview.outlook(bought.kinds, times, self.limits),
            landing=self._landing(ahead),
            ahead={kind: flock.wanted for kind, flock in ahead.items()},
            wrong={kind: why for kind in forms if (why := verdicts.get(canary.named(kind, self.manifest.frames)))},
            max_in_flight=self.limits.max_in_flight,
            example=next(self.sent(), None) if bought.clips else None,
        )

    def _all_forms(self) -> Mapping[str, int]:
        """The kinds of all that waits, for a canary goes ahead of what `--limit` leaves out too."""
        if self.request.limit is None:
            return self.purchases.forms
        return self.store.purchases(only=self.request.only, tags=self.request.tags).forms

    def _landing(self, ahead: Container[str]) -> Landing | None:
        forms, start = self.purchases.forms, self.hours.opens_at or self.hours.now
        ends_at = replace(self.hours, now=start).ends_at  # of a run that is started when the window opens
        if ends_at is None or not forms:
            return None
        seen = {form: self.store.service_times(form, endpoint=self.batch.endpoint, limit=WINDOW) for form in forms}
        return Landing(
            clips=preview.landing(
                forms,
                {form: preview.pace(form, times, self.limits) for form, times in seen.items()},
                self.limits,
                seconds=(ends_at - start).total_seconds(),
                ahead=any(form in ahead for form in forms),
            ),
            ends_at=ends_at,
            known=all(len(times) >= FEWEST for times in seen.values()),
        )

    def at_risk(self, shown: Preview) -> tuple[int, int | None]:
        """How many clips `on_doubt: resend` may pay twice, each once, and what that may cost; none without it."""
        if self.manifest.on_doubt != "resend":
            return 0, 0
        doubts = list(self.store.jobs(self.batch.id, states=(JobState.IN_DOUBT, JobState.SUBMITTING)))
        prices = [shown.cost if shown.purchases.clips else 0, *(job.price for job in doubts)]
        cost = None if any(price is None for price in prices) else sum(price or 0 for price in prices)
        return shown.purchases.clips + len(doubts), cost

    def _past_durations(self, billing_key: str, seconds: int) -> list[float]:
        return self.store.past_durations(billing_key, seconds, endpoint=self.batch.endpoint, limit=WINDOW)

    def _priced(self) -> Iterator[Priced]:
        for one in self.sent():
            assert one.request is not None
            yield self.price(one.request.billing_key, one.request.duration), one.tags

    def adopt_plan(self) -> None:
        """Write the plan to the database: from here on the jobs exist, and what the last run left unanswered is in doubt."""
        path = None if self.request.sets else self.request.manifest  # without its --set it would ask for something else
        manifest = None if path is None else str(path.absolute())
        with self.store.transaction():
            self.store.record_places(self.batch.id, manifest=manifest, folder=str(self.folder.root))
            self.store.adopt(self.batch.id, now=self.clock())
            if self.receipt is not None and not self.is_recalled and not self.plan.changed:
                # bought with another request than the manifest has: what becomes of that is decided at each start
                self.store.record_receipt(self.batch.id, self.receipt, self.sources)
            self.store.unpause(self.batch.id, now=self.clock())
            self.store.recover(self.batch.id, now=self.clock())
        self.folder.tidy(partial(self.store.saved_as, self.batch.id))

    def execute(self, listener: Listener) -> Report:
        """Submit, poll, download and verify until the end or until something stops the run."""
        run_id = self._begun()
        try:
            clips.load()
            logging.getLogger().addHandler(logging.NullHandler())  # a library's traceback is nothing for a terminal
            ensure_files(self.limits.submit_slots + self.limits.downloads + self.limits.uploads)
            keep_what_is_loaded()
            with Watchdog(self.database.absolute().parent) as watchdog:
                outcome = anyio.run(self._main, listener, run_id, watchdog)
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
            at=self.clock(),
        )
        return write_whole(path, html.encode("utf-8"))

    def _finish(self, run_id: int, code: ExitCode) -> None:
        try:
            self.store.finish_run(run_id, exit_code=code, now=self.clock())
        except StorageError:  # the run's own error says more
            return

    def _begun(self) -> int:
        host, plan = socket.gethostname(), self.request.saved
        return self.store.start_run(self.batch.id, pid=os.getpid(), host=host, plan=plan, now=self.clock())

    def idle_report(self) -> Report:
        """The report of a run that has nothing to do."""
        run_id = self._begun()
        outcome = Outcome(
            stops=frozenset({Stop.WINDOW} if self.waits_for_night else ()),
            counts=dict(self.counts()),
            blocked={},
            left=0,
            purchases=0,
            doubts=self.plan.in_doubt,
            limited=self.request.limit == 0,
        )
        report = self.report(outcome)
        self.store.finish_run(run_id, exit_code=report.exit_code, now=self.clock())
        return report

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
            paused_message=batch.paused_message if batch else None,
            folder=self.folder.root,
            database=self.database,
        )

    async def _main(self, listener: Listener, run_id: int, watchdog: Watchdog) -> Outcome:
        def tell(event: RunEvent) -> None:
            with watchdog.excused():
                listener(event)

        async with AsyncExitStack() as stack:
            provider = await self.connect(stack)
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
                    caps=self.caps,
                    run_id=run_id,
                    retries=self.manifest.retries,
                    canaries=self.canaries,
                    dialect=self.manifest.frames,
                    exclusive_key=self.manifest.exclusive_key or self.request.emulator,
                    opens_at=self.hours.opens_at,
                    deadline=self.hours.ends_at,
                    settle=self.limits.lasting(self.request.settle),
                    on_doubt=self.manifest.on_doubt,
                    proof=self.proof,
                    price=lambda job: self.price(job.request.billing_key, job.request.duration),
                ),
                now=self.clock,
                chance=Chance(),
                listener=tell,
                private_urls=self.private_urls,
            )
            return await conduct(runner, provider, watchdog, clock=self.clock)
