"""What an unanswered submission means, from evidence that costs nothing. Pure.

A look-up that finds the purchase is proof that it was bought. Not finding it proves nothing by itself: a server may be
late, may not keep our id, or may have charged and lost it (reliability notes §2.4). So a purchase is called *absent*, and
may be sent again with its own id, only when all of this is true:

1. its settle window is over, and it was not found by `LOOKUPS` look-ups spread over it: what a dying client handed to its
   kernel, or a gateway kept in a queue, has arrived by then;
2. in the same minute a purchase that is known to exist *is* found by its id: the look-up works, and the key is right;
3. the **residual** of the balance is zero: what the account has used since before the first doubt is explained, to the
   credit, by the purchases that are known. Then none of the doubts was charged. Doubts, and tasks that vanished or were
   abandoned, can only add to what was used, so zero speaks for all of them at once.

Nobody tells us prices in credits. They are learned (`tariff`), and believed only where nothing else can have moved the
balance: from two readings with exactly one purchase between them, accepted by its own answer, while no earlier doubt can
still arrive and no failed task can still be paid back, and none was under way while the balance was read. Of several measurements of one kind the smallest counts: too small a
price leaves a residual and no verdict. A measured purchase that did not move the balance shows that the balance lags, and
then nothing is learned at all. The residual is silent (`None`) rather than wrong: without a reading from before the doubts
at which all was settled, while a task is running, when a purchase has no learned price, or when none was ever measured: a
balance that was never seen to move by a purchase cannot show that it did not. The doubt's own kind needs no price: all kinds
are one model's, billed by one account, and one that cost nothing could be bought again for nothing.

A key that somebody else uses leaves a residual that is not zero, and no verdict. What this cannot see is a stranger who
is paid back, in the same hours, exactly what a lost purchase cost.

Two things stand in for a balance that is silent, and for nothing else: that a repeated purchase id buys nothing twice, where
that was **proven** for this address, model and key (`replay`), and a manifest that says `on_doubt: resend`. Neither does
without the first two conditions; and credits that nobody explains are believed more than a proof of another day.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from batchrunner.model import Balance, Job, Purchase, Reading, ReplayProof
from batchrunner.purchase import purchase_time
from batchrunner.states import JobEvent

LOOKUPS = 5
"""Looks at one purchase, spread over the settle window: a relay may store what it accepted late."""
SPREAD = 1 / 15
"""Of the window: the shortest time that five looks are spread over when the window is over already.

As long, a minute of the usual window, a refund may take to be seen in the balance: it is made before a task is said to
have failed (API facts §1, webhooks), but polls are not promised the same."""
JUDGEMENTS = 3
"""Times that a run weighs the evidence before it holds its doubts for a person."""
REPLAYED_FOR = timedelta(hours=24)
"""From the intent, how long a provider that was seen to know a purchase id again is trusted to know it still: so long a
result is kept (API facts §1). After that neither its look-up nor its replay says what was bought."""
FORGOTTEN = timedelta(hours=48)
"""After this a task that nobody knows of is neither running nor paid back any more: relays end theirs after 24 h."""

ROUNDING = 1e-6
"""Of a credit: what a server's own sums in floating point may be off by."""

Kind = tuple[str, int]

_UNKNOWN = frozenset({"open", JobEvent.UNANSWERED, JobEvent.VANISHED, JobEvent.ABANDONED})
"""Charged, or not, or given back: nobody knows."""
_DOUBTS = frozenset({"open", JobEvent.UNANSWERED})
_RUNNING = frozenset({JobEvent.ACCEPTED, JobEvent.FOUND})


def next_lookup(looked: int, *, age: float, window: float) -> float | None:
    """Seconds from the n-th look at a purchase of this age to the next; None when it was looked for often enough.

    The window counts from the intent. An older doubt gets its looks over a short time, not over another window.
    """
    left = max(window - age, 0.0)
    if looked >= LOOKUPS:
        return left or None
    if left == 0.0:
        return window * SPREAD / (LOOKUPS - 1)
    return max(left / (LOOKUPS - looked), window * SPREAD / (LOOKUPS - 1))


def kind_of(job: Job) -> Kind:
    """What a job's price depends on."""
    return job.request.billing_key, job.request.duration


def reading(balance: Balance | None, at: datetime) -> Reading | None:
    """What was used by then; None when that is not told, or not in whole credits."""
    if balance is None or abs(balance.used - round(balance.used)) > ROUNDING:
        return None
    return Reading(at=at, used=round(balance.used))


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the database holds of an account: what has to explain how its balance moved."""

    known: str | None
    """The id of a purchase that certainly exists."""
    account: str
    """Whose books: the key's."""
    readings: Sequence[Reading]
    purchases: Sequence[Purchase]
    proof: ReplayProof | None = None
    """What was seen last of a repeated purchase id, at this address and with this key."""

    @property
    def own(self) -> list[Purchase]:
        """The purchases that this key has to explain."""
        return [one for one in self.purchases if one.account in (None, self.account)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What was gathered about all the doubts that wait for a verdict."""

    control: str | None
    """The purchase that is known to exist and was found just now; None when it was not found."""
    is_first: bool = False
    """Whether none is known to exist, so that nothing could be the control."""
    is_foreign: bool = False
    """Whether any of the doubts was sent with another key."""
    readings: Sequence[Reading]
    """Of this account, the last one taken just now; none when it could not be taken."""
    purchases: Sequence[Purchase]
    window: timedelta
    replay: datetime | None = None
    """When it was proven that the id of each of the doubts buys nothing twice."""
    resend: bool = False
    """Whether the manifest takes "not found" for enough."""


def gather(
    doubts: Sequence[Job],
    books: Books,
    *,
    control: str | None,
    now: datetime,
    latest: Reading | None,
    window: timedelta,
    resend: bool = False,
) -> Evidence:
    """The evidence about doubts that were looked for and not found; `latest` is the balance of this moment."""
    proof, asked = books.proof, {job.purchase_id for job in doubts}
    own = books.own
    holds = proof is not None and proof.holds and all(_is_replayed(job, proof, now) for job in doubts)
    return Evidence(
        control=control,
        is_first=books.known is None,
        is_foreign=any(one.purchase_id in asked and one not in own for one in books.purchases),
        readings=[] if latest is None else [*books.readings, latest],
        purchases=own,
        window=window,
        replay=proof.proved_at if proof is not None and holds else None,
        resend=resend,
    )


def _is_replayed(job: Job, proof: ReplayProof, now: datetime) -> bool:
    made = purchase_time(job.purchase_id)  # the first request's, however often it was sent since
    return made is not None and now - made < REPLAYED_FOR and job.request.model == proof.model


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What the evidence comes to, in a sentence for the history."""

    absent: bool
    text: str


def conclude(evidence: Evidence) -> Conclusion:
    """Whether the doubts may be sent again with their own ids; never "yes" unless all that it needs is shown."""
    if evidence.is_foreign:
        return Conclusion(absent=False, text="it was sent with another key, whose account this one cannot see")
    if evidence.control is None:
        unknown = "nothing was ever bought here for certain, so nothing proves that its look-up works"
        blind = "the provider does not find a purchase by its id that it surely has"
        return Conclusion(absent=False, text=unknown if evidence.is_first else blind)
    control = f"control {evidence.control} was found"
    if evidence.resend:
        return Conclusion(absent=True, text=f"{control}; `on_doubt: resend` takes that for enough")
    found = residual(evidence)
    if isinstance(found, str):
        silent = f"the balance proves nothing: {found}"
        if evidence.replay is None:
            return Conclusion(absent=False, text=silent)
        proven = f"a repeated purchase id was proven on {evidence.replay:%Y-%m-%d} to buy nothing twice here"
        return Conclusion(absent=True, text=f"{control}; {silent}, but {proven}")
    if found.credits:
        text = f"the balance moved by {found.moved} credits, known purchases explain {found.explained}"
        return Conclusion(absent=False, text=f"{text}; {found.credits} are unexplained")
    text = f"{control}; {found.moved} credits used since {found.since:%Y-%m-%d %H:%M:%S} UTC"
    return Conclusion(absent=True, text=f"{text}, known purchases explain {found.explained}: residual 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """How far the known purchases explain what was used, in credits."""

    since: datetime
    moved: int
    explained: int

    @property
    def credits(self) -> int:
        """What nobody explains."""
        return self.moved - self.explained


def residual(evidence: Evidence) -> Residual | str:
    """The residual since a reading from before all doubts, or why there is none."""
    purchases, window = evidence.purchases, evidence.window
    if not evidence.readings:
        return "it could not be read in whole credits"
    if any(one.intended_at > evidence.readings[-1].at for one in purchases):
        return "this machine's clock has been set back, so what came after what is not known"
    if any(one.outcome in _RUNNING for one in purchases):
        return "tasks are still running"
    prices = tariff(evidence.readings, purchases, window)
    baseline = _baseline(evidence)
    if baseline is None:
        return "there is no reading from before the doubts at which all was settled"
    if not prices:
        return "no purchase was ever seen to move it"
    counts = {kind: count for kind, count in _charged_since(baseline.at, purchases).items() if count}
    if lacking := counts.keys() - prices.keys():
        return f"what {_spelled(lacking)} costs was not seen"
    explained = sum(count * prices[kind] for kind, count in counts.items())
    return Residual(since=baseline.at, moved=evidence.readings[-1].used - baseline.used, explained=explained)


def _spelled(kinds: Iterable[Kind]) -> str:
    return " and ".join(f"a clip of {seconds} s in {billing_key}" for billing_key, seconds in sorted(kinds))


def _charged_since(at: datetime, purchases: Iterable[Purchase]) -> Counter[Kind]:
    """How many purchases of each kind were charged since then and kept, less those that were paid back."""
    counts: Counter[Kind] = Counter()
    for one in purchases:
        if one.outcome in _UNKNOWN:
            continue
        counts[one.kind] += (one.failed_at is None) - _was_charged(one, at)
    return counts


def _was_charged(one: Purchase, at: datetime) -> bool:
    return one.intended_at < at and (one.failed_at is None or one.failed_at >= at)


def _baseline(evidence: Evidence) -> Reading | None:
    """The latest reading before every doubt at which no charge and no refund was on its way."""
    for reading in reversed(evidence.readings):
        if not any(_disturbs(one, reading.at, evidence.window) for one in evidence.purchases):
            return reading
    return None


def _disturbs(one: Purchase, at: datetime, window: timedelta) -> bool:
    """Whether nothing can be counted from a reading of that time because of this purchase."""
    if one.intended_at < at and one.outcome in _UNKNOWN:
        return one.outcome in _DOUBTS or at < one.intended_at + FORGOTTEN
    return _is_moving(one, at, at, window)


def _is_moving(one: Purchase, start: datetime, end: datetime, window: timedelta) -> bool:
    """Whether a purchase from before may still be charged, or paid back, in this time."""
    if one.prompt:
        late = _is_overtaken(one, start) or _is_overtaken(one, end)
    else:
        late = one.intended_at < end and one.intended_at + window > start
    returning = one.failed_at is not None and one.failed_at <= end and one.failed_at + window * SPREAD > start
    return late or returning


def _is_overtaken(one: Purchase, at: datetime) -> bool:
    """Whether a reading of that time was taken while its request was under way: it may have the charge, or not."""
    return one.answered_at is not None and one.intended_at < at < one.answered_at


def _is_under_way(one: Purchase, times: Sequence[datetime]) -> bool:
    """Whether any of these readings overtook it."""
    following = bisect_right(times, one.intended_at)
    return following < len(times) and _is_overtaken(one, times[following])


def tariff(readings: Sequence[Reading], purchases: Sequence[Purchase], window: timedelta) -> dict[Kind, int]:
    """What each kind of purchase costs, in credits, where it was measured."""
    ordered = sorted(purchases, key=lambda one: one.intended_at)
    moments = [one.intended_at for one in ordered]
    times = [reading.at for reading in readings]
    unsettled = [one for one in ordered if not one.prompt or one.failed_at is not None or _is_under_way(one, times)]
    measured: defaultdict[Kind, list[int]] = defaultdict(list)
    for before, after in pairwise(readings):
        inside = ordered[bisect_left(moments, before.at) : bisect_left(moments, after.at)]
        if len(inside) != 1 or any(_is_moving(one, before.at, after.at, window) for one in unsettled):
            continue
        if inside[0].prompt:
            measured[inside[0].kind].append(after.used - before.used)
    if any(moved <= 0 for moves in measured.values() for moved in moves):
        return {}
    return {kind: min(moves) for kind, moves in measured.items()}
