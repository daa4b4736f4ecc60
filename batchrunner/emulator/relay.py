"""What ToAPIs does behind its HTTP: accepts and bills submissions, keeps tasks, images and results.

Time comes from outside, as a clock of unix seconds. With a state folder everything survives the process, even SIGKILL;
without one it lives in a temporary folder until `close`.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from batchrunner.emulator import validation
from batchrunner.emulator.images import ImageStore
from batchrunner.emulator.ledger import Entry, Ledger
from batchrunner.emulator.lifecycle import service_seconds
from batchrunner.emulator.links import Links
from batchrunner.emulator.prices import price_credits
from batchrunner.emulator.validation import Submission
from batchrunner.emulator.workshop import Workshop

CREDITS = 1_000_000
"""What the account holds before anything is bought: 5000 USD, some 12 000 clips of the cheapest kind."""

Clock = Callable[[], float]


class OutOfCredits(Exception):
    """The account cannot pay for this submission."""


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
    ) -> None:
        """`speed` seconds of a task's life pass in one; `credits` None is a key without a limit."""
        if not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.clock, self.credits = clock, credits
        self._speed, self._seed = speed, seed
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if state_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="batchrunner-emulator-", ignore_cleanup_errors=True)
            state_dir = Path(self._temporary.name)
        state_dir.mkdir(parents=True, exist_ok=True)
        self.links = Links.open(state_dir / "secret")
        self.images = ImageStore(state_dir / "uploads")
        self.ledger = Ledger(state_dir / "ledger.jsonl")
        self.workshop = Workshop(ledger=self.ledger, images=self.images, clips=state_dir / "clips", clock=clock)
        for entry in self.ledger.entries():
            if entry.inputs is None and entry.failed_at is None:  # the last process died before it had the images
                self.workshop.take(entry)

    def close(self) -> None:
        """Stop the background work and let go of all files."""
        self.workshop.close()
        self.ledger.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def submit(self, body: bytes) -> Entry:
        """Accept and bill a submission; the entry is recorded when this returns.

        `Refusal` and `OutOfCredits`: nothing was bought. `OSError`: neither, for want of a record.
        """
        submission = validation.parse(body)
        if (known := self._replayed(submission)) is not None:
            return known
        price = price_credits(submission)
        if self.credits is not None and self.ledger.billed_credits + price > self.credits:
            raise OutOfCredits
        now = self.clock()

        def make(sequence: int) -> Entry:
            return Entry(
                sequence=sequence,
                id=self.links.task_id(sequence),
                accepted_at=now,
                service=service_seconds(submission, seed=self._seed, sequence=sequence, speed=self._speed),
                price_credits=price,
                body_sha256=hashlib.sha256(body).hexdigest(),
                submission=submission,
                inputs=None if submission.images else (),
            )

        entry = self.ledger.accept(make)
        self.workshop.take(entry)
        return entry

    def _replayed(self, submission: Submission) -> Entry | None:
        """The task that a repeated `client_business_id` means: documented once, for the same request (facts §4)."""
        client_id = submission.client_business_id
        return None if client_id is None else self.ledger.find_client_id(client_id)
