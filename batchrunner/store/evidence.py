"""The port: what is known of a provider, beside the jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from batchrunner.model import Asset, Purchase, Reading, ReplayProof


class Evidence(Protocol):
    """What settles doubts: readings of the account, verdicts on kinds of clips, proofs of replay; and uploaded frames."""

    def record_reading(self, endpoint: str, account: str, reading: Reading) -> None:
        """Keep what the account had used; `account` tells keys apart and is no key."""

    def readings(self, endpoint: str, account: str) -> list[Reading]:
        """The readings of one account, the oldest first."""

    def accounts(self) -> list[tuple[str, str]]:
        """Endpoint and account of all readings."""

    def charges(self, endpoint: str) -> list[Purchase]:
        """Every submission, of all batches there, that was or may have been charged, the oldest first."""

    def verdicts(self, endpoint: str) -> dict[str, str | None]:
        """What the first clips of each kind came to there: None where they were right, otherwise what was wrong."""

    def record_verdict(self, endpoint: str, kind: str, job_id: int, *, wrong: str | None, now: datetime) -> None:
        """What a clip says about its kind; a later one goes above an earlier one."""

    def known_purchase(self, endpoint: str) -> str | None:
        """The purchase id of the task that was accepted there last; None when there is none."""

    def record_held(self, job_id: int, *, message: str, now: datetime) -> bool:
        """Still in doubt: what is known of it, and what helps."""

    def salt(self) -> bytes:
        """This database's own, for fingerprints of keys."""

    def record_proof(self, proof: ReplayProof) -> None: ...

    def replay_proof(self, *, base_url: str, model: str, key: str) -> ReplayProof | None:
        """The latest for this address, model and key (by its fingerprint); None when replay was never tried there."""

    def asset(self, sha256: str, *, endpoint: str) -> Asset | None: ...

    def record_asset(self, asset: Asset) -> None: ...
