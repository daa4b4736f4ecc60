"""What ToAPIs does behind its HTTP: accepts and bills submissions, keeps tasks, images and results, and breaks as it is told.

Time comes from outside, as a clock of unix seconds. With a state folder everything survives the process, even SIGKILL;
without one it lives in a temporary folder until `close`.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio

from batchrunner.emulator import fates, lifecycle, tokens, validation
from batchrunner.emulator.chances import Chances, Strike
from batchrunner.emulator.images import ImageStore
from batchrunner.emulator.ledger import Entry, Ledger
from batchrunner.emulator.lifecycle import service_seconds
from batchrunner.emulator.limits import Admission, Category, RateLimits
from batchrunner.emulator.links import Links
from batchrunner.emulator.prices import price_credits
from batchrunner.emulator.scenarios import Config
from batchrunner.emulator.validation import Submission
from batchrunner.emulator.workshop import Workshop

CREDITS = 1_000_000
"""What the account holds before anything is bought: 5000 USD, some 12 000 clips of the cheapest kind."""

Clock = Callable[[], float]
TICK = 0.05
"""Real seconds between two looks at the clock of what waits for it: a test may move it."""


class OutOfCredits(Exception):
    """The account cannot pay for this submission."""


class AtCapacity(Exception):
    """As many tasks run upstream as may."""


class Relay:
    """One account at one provider."""

    def __init__(
        self,
        *,
        clock: Clock,
        state_dir: Path | None = None,
        speed: float = 1.0,
        seed: int = 0,
        credits: int | None = CREDITS,
        config: Config | None = None,
        full_clips: bool = False,
    ) -> None:
        """`speed` seconds of a task's life pass in one; `credits` None is a key without a limit.

        `full_clips` have the size that they are billed by, others a few hundred pixels.
        """
        if not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.clock, self.credits, self.speed = clock, credits, speed
        self.closing = False
        """Set when the server stops: nothing waits any longer."""
        self.scenario = "happy"
        self.parallel: int | None = None
        """Tasks that may run at once; None for any number."""
        self.refusals: Counter[str] = Counter()
        """How often it was honestly refused, by reason."""
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if state_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="batchrunner-emulator-", ignore_cleanup_errors=True)
            state_dir = Path(self._temporary.name)
        state_dir.mkdir(parents=True, exist_ok=True)
        self.links = Links.open(state_dir / "secret")
        self.images = ImageStore(state_dir / "uploads")
        self.ledger = Ledger(state_dir / "ledger.jsonl")
        self.workshop = Workshop(
            ledger=self.ledger, images=self.images, clips=state_dir / "clips", clock=clock, full=full_clips
        )
        self.chances = Chances(self.ledger, speed=speed, seed=seed)
        self.group = "default"
        self.rate_limits: RateLimits | None = RateLimits(self.group, speed=speed)
        self._running: list[str] = []
        """Tasks that may still be running."""
        self._configure(config or Config(), goes_on=True)
        for entry in self.ledger.entries():
            self._running.append(entry.id)
            if entry.inputs is None and entry.failed_at is None:  # the last process died before it had the images
                self.workshop.take(entry)

    def configure(self, config: Config) -> None:
        """Change what is given and leave the rest; counts and times of new faults begin now."""
        self._configure(config, goes_on=False)

    def _configure(self, config: Config, *, goes_on: bool) -> None:
        limits = config.limits
        if config.seed is not None:
            self.chances.seed = config.seed
        if config.rules is not None:
            self.scenario = config.scenario or "faults"
            self.chances.apply(config.rules, goes_on=goes_on)
        self.parallel = limits.get("parallel", self.parallel)
        self.credits = limits.get("credits", self.credits)
        if "group" in limits or "rate_limits" in limits:
            self.group = limits.get("group", self.group)
            enabled = limits.get("rate_limits", self.rate_limits is not None)
            self.rate_limits = RateLimits(self.group, speed=self.speed) if enabled else None

    def close(self) -> None:
        """Stop the background work and let go of all files."""
        self.workshop.close()
        self.ledger.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def check_key(self, key: str) -> None:
        """`KeyRefused` for a key that has expired or is used up."""
        if (token := self.ledger.tokens.get(key)) is not None:
            now = self.clock()
            tokens.check_usable(token, now=now, spent=self.ledger.billed_to(key, now))

    def make_key(self, body: bytes) -> tuple[str, tokens.Token]:
        """A new key, and what it may do; `BadToken`, or `OSError` for want of a record."""
        secret = tokens.new_key()
        token = tokens.parse(body, key=self.links.key_id(secret), now=self.clock())
        self.ledger.record_token(token)
        return secret, token

    def submit(self, body: bytes, *, key: str = "") -> Entry:
        """Accept and bill a submission to a key; the entry is recorded when this returns.

        `Refusal`, `KeyRefused`, `OutOfCredits` and `AtCapacity`: nothing was bought. `OSError`: neither, for want of a record.
        """
        submission = validation.parse(body)
        if (known := self._replayed(submission)) is not None:
            return known
        now = self.clock()
        price = price_credits(submission)
        if (token := self.ledger.tokens.get(key)) is not None:
            spent = partial(_spent_since, self.ledger, key, now)
            tokens.check_may_buy(token, now=now, model=submission.model, price=price, spent_since=spent)
        if self.credits is not None and self.ledger.billed_credits(now) + price > self.credits:
            self.refusals["out_of_credits"] += 1
            raise OutOfCredits
        if self.parallel is not None and self._in_flight(now) >= self.parallel:
            self.refusals["at_capacity"] += 1
            raise AtCapacity

        draw = self.chances.draw(submission.likeness)
        fate = self.chances.fates(draw, submission.prompt, now=now)

        def make(sequence: int) -> Entry:
            return fates.fated(
                Entry(
                    sequence=sequence,
                    id=self.links.task_id(sequence),
                    accepted_at=now,
                    service=service_seconds(submission, seed=self.chances.seed, draw=draw, speed=self.speed),
                    price_credits=price,
                    body_sha256=hashlib.sha256(body).hexdigest(),
                    submission=submission,
                    inputs=None if submission.images else (),
                    fate=fate,
                    draw=draw,
                    key=key,
                )
            )

        entry = self.ledger.accept(make)
        self._running.append(entry.id)
        if entry.failed_at is None:
            self.workshop.take(entry)
        return entry

    def find(self, any_id: str) -> Entry | None:
        """What a look-up by a task's id or by `client_business_id` finds now (facts §1)."""
        now = self.clock()
        task = self.ledger.get(any_id)
        known = [task] if task is not None else self.ledger.named(any_id)
        return next((entry for entry in known if fates.is_found(entry, any_id, now)), None)

    def shown_at(self, entry: Entry) -> float:
        """The moment that a poll tells of now."""
        return lifecycle.refreshed(entry, self.clock(), lifecycle.REFRESH / self.speed)

    def admit(self, category: Category) -> Admission | None:
        """What the rate limiter says; None when it is off."""
        if self.rate_limits is None:
            return None
        admission = self.rate_limits.admit(category, self.clock())
        if not admission.granted:
            self.refusals["rate_limited"] += 1
        return admission

    def fire(self, strike: Strike, task: str | None = None) -> None:
        """A fault happens: it is in the ledger before the client can know."""
        self.ledger.record_fault(strike.struck(self.clock(), task))

    async def wait(self, seconds: float, *, unless: Callable[[], bool] = lambda: False) -> None:
        """Until so much of the clock's time has passed, the server stops, or something else makes waiting vain."""
        end = self.clock() + seconds
        while not self.closing and not unless() and (left := end - self.clock()) > 0:  # noqa: ASYNC110 - a test's clock wakes nobody
            await anyio.sleep(min(left, TICK))

    def _in_flight(self, now: float) -> int:
        running = [entry for task_id in self._running if (entry := self.ledger.get(task_id)) is not None]
        self._running = [entry.id for entry in running if lifecycle.ended_at(entry) > now]
        return len(self._running)

    def _replayed(self, submission: Submission) -> Entry | None:
        """The task that a repeated `client_business_id` means: documented once, for the same request (facts §4)."""
        client_id = submission.client_business_id
        return None if client_id is None else self.find(client_id)


def _spent_since(ledger: Ledger, key: str, now: float, since: float) -> int:
    return ledger.billed_to(key, now, since=since)
