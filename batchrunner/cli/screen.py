"""A plan for people, job by job and as a whole, and for programs; `plan` shows it and `run` asks about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from batchrunner import canary, plan, preview
from batchrunner.budget import TAG, near
from batchrunner.cli.advice import command, run_again
from batchrunner.cli.words import plural, printable
from batchrunner.preview import Preview
from batchrunner.report import rehearsal, summary
from batchrunner.session import Session
from batchrunner.states import JobState
from batchrunner.store.base import Planned, Verdict

MARKS = {
    Verdict.NEW: "+",
    Verdict.AGAIN: "+",
    Verdict.DONE: "=",
    Verdict.IN_FLIGHT: ">",
    Verdict.IN_DOUBT: "?",
    Verdict.CHANGED: "~",
    Verdict.FAILED: "!",
    Verdict.CANCELLED: "x",
    Verdict.ORPHANED: "-",
}
MOVED = "→"
RETRIED = {"task_failed": "generation"}
"""Reasons that a manifest's `retry` calls by another name."""
PROMPT = 60
"""Characters of a prompt that a line of the list shows."""


def lines(session: Session, shown: Preview) -> Iterator[str]:
    """The plan as a whole: what is there, what would be bought and sent, what it costs, what may be spent, how long."""
    made, bought = shown.plan, shown.purchases
    yield f"{session.batch.name}  {session.request.source}  at {session.batch.endpoint}"
    if session.is_new and not session.request.emulator:
        yield f"  new database {session.database}: it knows nothing bought elsewhere"
    if (bought.clips or made.collecting) and (way := session.proxy) is not None:
        yield f"  over the proxy {way[1]}, which {way[0]} names; --no-proxy-env goes without"
    counted = (
        ("+", bought.clips, "to send"),
        ("=", made.done, "done"),
        (">", made.collecting, "at the provider"),
        ("?", made.in_doubt, "in doubt"),
        ("!", made.failed, "failed"),
        ("x", made.cancelled, "cancelled"),
        (MOVED, made.moved, "renamed"),
        ("-", made.orphaned, "no longer in the manifest"),
    )
    yield "  " + "   ".join(f"{mark} {count} {word}" for mark, count, word in counted if count or mark in "+=")
    if made.changed:
        yield f"  ~ {made.changed} changed after being bought, kept as bought: {_some(made)}"
        yield "    --redo changed buys the new version as well; the old clip stays beside it"
    if bought.clips:
        yield from _purchase_lines(session, shown)
    yield from _budget_lines(session, shown)
    yield from _risk(session, shown)
    if session.hours.opens_at is not None and bought.clips:
        opens = f"{session.hours.opens_at.astimezone():%a %Y-%m-%d %H:%M}"
        yield f"  nothing is bought before {opens}, when the window {session.hours.window} opens"
        if session.is_dated and session.request.date is None:
            night = f"{session.hours.opens_at.astimezone():%Y-%m-%d}"
            yield f"  the coming night is another batch: it is planned with --date {night}"
    yield from _unfinished_nights(session)


def _unfinished_nights(session: Session) -> Iterator[str]:
    for night in session.unfinished_nights():
        yield f"  {night.batch.name} is not finished: {summary.standing(night.counts)}"
        again = run_again(night.batch, session.database)
        if night.collectable:
            fetch = command("fetch", night.batch.name, database=session.database)
            yield f"    collects what is paid for, free of charge: {fetch}"
        yield f"    goes on with it: {again}"


def _risk(session: Session, shown: Preview) -> Iterator[str]:
    """What `on_doubt: resend` may cost at the worst."""
    clips, cost = session.at_risk(shown)
    if clips:
        price = "" if cost is None else f": {summary.amount(cost, session.batch.currency)} more"
        yield f"  risk on_doubt: resend looks at no balance: at most {plural(clips, 'clip')} may be paid twice{price}"


def _some(made: Any) -> str:
    more = made.changed - len(made.changed_keys)
    return ", ".join(made.changed_keys) + (f" and {more} more" if more else "")


def _purchase_lines(session: Session, shown: Preview) -> Iterator[str]:
    seconds = plan.billed_seconds(shown.purchases)
    yield "  buys " + " · ".join(f"{key} {total} s" for key, total in sorted(seconds.items()))
    if again := sum(shown.purchases.again.values()):
        cost = "" if shown.cost_again is None else f", {summary.amount(shown.cost_again, session.batch.currency)} of it"
        yield f"  pays again for {plural(again, 'clip')} that {'was' if again == 1 else 'were'} bought before{cost}"
    if again and "failed" in session.request.redo and _can_be_fetched(session):
        free = command("fetch", session.batch.name, "--failed", database=session.database)
        yield f"    free of charge, and worth trying first: {free}"
    if shown.uploads:
        yield f"  sends {plural(shown.uploads, 'frame')} from this machine ({_size(shown.upload_bytes)})"
    yield f"  cost {_cost(session, shown)}"
    yield from _worst_lines(session, shown)
    yield from _time_lines(shown)
    yield from _canary_lines(shown)
    if (one := shown.example) is not None and one.request is not None:
        yield f"  e.g. {_described(one)}"


def _can_be_fetched(session: Session) -> bool:
    failed = session.store.jobs(session.batch.id, states=(JobState.FAILED,))
    return any(job.reason in summary.PAID_FAILURES for job in failed)


def _cost(session: Session, shown: Preview) -> str:
    if shown.cost is None:
        text = "unknown: no `prices`; from earlier runs: batchrunner cost --calibrate"
    else:
        text = summary.amount(shown.cost, session.batch.currency)
        if session.borrows_prices:
            text += " by the emulator's own prices"
    return f"{text}; nothing is paid" if session.request.emulator else text


def _worst_lines(session: Session, shown: Preview) -> Iterator[str]:
    """What may be bought again without another yes."""
    times, currency = max(session.manifest.retries.values(), default=0), session.batch.currency
    if times:
        allowed = ", ".join(
            f"{RETRIED.get(reason, reason)} {most}" for reason, most in session.manifest.retries.items()
        )
        worst = "" if shown.cost is None else f": at worst {summary.amount(shown.cost * (1 + times), currency)},"
        yield f"  retry up to {times} {'time' if times == 1 else 'times'} a clip ({allowed}){worst}"
        yield "        where nothing is given back for what failed; caps hold all the same"


def _time_lines(shown: Preview) -> Iterator[str]:
    if (outlook := shown.outlook) is None:
        yield "  time unknown: no such clip has finished in this database yet"
    else:
        took = f"median {rehearsal.duration(outlook.median)} of the last {plural(outlook.tasks, 'clip')}"
        yield f"  time about {rehearsal.duration(outlook.seconds)} at {shown.max_in_flight} in flight ({took})"
        if outlook.unknown:
            yield f"       {plural(outlook.unknown, 'clip')} of kinds not seen yet, taken to be like the others"
    if (landing := shown.landing) is not None:
        clips = shown.purchases.clips
        every = "the clip" if clips == 1 else f"all {clips} clips"
        fits = every if landing.clips >= clips else f"about {landing.clips} of {clips} clips"
        guess = "" if landing.known else " (a guess: too few were seen here)"
        yield f"  until {landing.ends_at.astimezone():%a %Y-%m-%d %H:%M} {fits} can be here{guess}"
        if landing.clips < clips:
            yield "        the rest waits for the next run, exit code 6"


def _canary_lines(shown: Preview) -> Iterator[str]:
    """What goes ahead of the rest, and what is not bought because its canary was wrong."""
    forms = shown.purchases.forms
    for kind, clips in shown.ahead.items():
        if (rest := forms.get(kind, 0) - clips) > 0:
            right = "it is right" if clips == 1 else "they are right"
            yield f"  first {plural(clips, 'clip')} of {canary.spoken(kind)}; {rest} wait until {right}"
    for kind, wrong in shown.wrong.items():
        yield f"  holds {plural(forms.get(kind, 0), 'clip')} of {canary.spoken(kind)}: {wrong}"
        yield "        nothing more is bought before --no-canary says so"


def _budget_lines(session: Session, shown: Preview) -> Iterator[str]:
    currency = session.batch.currency
    for cap, rest in preview.left(shown.caps, shown.used).items():
        after = (
            "" if shown.cost is None or not shown.purchases.clips else f", {_signed(rest - shown.cost, currency)} after"
        )
        limit, used = summary.amount(shown.caps.given[cap], currency), summary.amount(shown.used.of(cap), currency)
        yield f"  budget {cap} {limit}: {used} used, {_signed(rest, currency)} left{after}"
        if cap in near(shown.caps, shown.fit.after):
            share = f"{shown.fit.after.of(cap) / shown.caps.given[cap]:.0%}" if shown.caps.given[cap] else "all"
            yield f"    past warn_at {shown.caps.warn_at:.0%}: {share} is used {'then' if shown.fit.clips else 'already'}"
    if shown.fit.cap is not None:
        fits = f"{shown.fit.clips} of {plural(shown.purchases.clips, 'clip')}"
        does = "holds back the rest" if shown.fit.cap.startswith(TAG) else "ends the run"
        yield f"  fits {fits} ({summary.amount(shown.fit.cost, currency)}): {shown.fit.cap} {does}, exit code 5"


def _signed(micro: int, currency: str | None) -> str:
    return summary.amount(micro, currency) if micro >= 0 else f"-{summary.amount(-micro, currency)}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def _described(one: Planned) -> str:
    asked = one.request
    assert asked is not None
    prompt = asked.prompt if len(asked.prompt) <= PROMPT else asked.prompt[: PROMPT - 1] + "…"
    return f"{one.key}  {asked.billing_key} {asked.duration} s {asked.aspect_ratio.value}  {printable(prompt)}"


def listing(session: Session) -> Iterator[str]:
    """Each job that the run is about with its mark, then the files that would leave this machine."""
    limit, sent = session.request.limit, 0
    for one in selected(session):
        sent += one.verdict.is_sent
        yield _line(session, one, waits=limit is not None and one.verdict.is_sent and sent > limit)
    for frame, size in session.leaving():
        yield f"  sends {printable(frame.source)} ({_size(size)})"


def selected(session: Session) -> Iterator[Planned]:
    """The jobs of the plan that the run is about."""
    return filter(session.request.selects, session.store.planned())


def _line(session: Session, one: Planned, *, waits: bool) -> str:
    mark = MOVED if one.moved_from is not None and not one.verdict.is_sent else MARKS[one.verdict]
    was = f" (was {one.moved_from})" if one.moved_from is not None else ""
    if one.request is None:
        return f"{mark} {one.key}  {_state(one)}"
    price = session.price(one.request.billing_key, one.request.duration) if one.verdict.is_sent else None
    cost = "" if price is None else f"  {summary.amount(price, session.batch.currency)}"
    note = {Verdict.AGAIN: "  paid for again", Verdict.CHANGED: f"  changed, kept as bought ({_state(one)})"}
    said = note.get(one.verdict, "" if one.verdict.is_sent else f"  {_state(one)}")
    return f"{mark} {_described(one)}{was}{cost}{said}{'  not in this run (--limit)' if waits else ''}"


def _state(one: Planned) -> str:
    return one.state.value.replace("_", " ") if one.state is not None else "new"


def document(session: Session, shown: Preview, *, jobs: int) -> dict[str, Any]:
    """The plan as one object, of which fields are only ever added."""
    made, bought, currency = shown.plan, shown.purchases, session.batch.currency
    return {
        "schema": "batchrunner/plan@1",
        "batch": session.batch.name,
        "source": session.request.source,
        "endpoint": session.batch.endpoint,
        "database": str(session.database),
        "new_database": session.is_new,
        "work": has_work(shown),
        "counts": {
            "jobs": jobs,
            "new": made.to_send - made.again,
            "again": made.again,
            "done": made.done,
            "in_flight": made.collecting,
            "in_doubt": made.in_doubt,
            "changed": made.changed,
            "moved": made.moved,
            "failed": made.failed,
            "cancelled": made.cancelled,
            "orphaned": made.orphaned,
        },
        "to_send": {
            "clips": bought.clips,
            "again": sum(bought.again.values()),
            "seconds": plan.billed_seconds(bought),
            "cost": _units(shown.cost),
            "cost_again": _units(shown.cost_again),
            "currency": currency,
        },
        "at_risk": _at_risk(session, shown),
        "uploads": {"files": shown.uploads, "bytes": shown.upload_bytes},
        "duration": _outlook(shown),
        "hours": _hours(session, shown),
        "canary": [{"kind": canary.spoken(kind), "clips": clips} for kind, clips in shown.ahead.items()],
        "canary_wrong": [{"kind": canary.spoken(kind), "why": why} for kind, why in shown.wrong.items()],
        "retry": {"purchases": max(session.manifest.retries.values(), default=0)},
        "budget": [
            {
                "cap": cap,
                "limit": _units(shown.caps.given[cap]),
                "used": _units(shown.used.of(cap)),
                "left": _units(rest),
                "warns": cap in near(shown.caps, shown.fit.after),
            }
            for cap, rest in preview.left(shown.caps, shown.used).items()
        ],
        "fits": {"clips": shown.fit.clips, "cost": _units(shown.fit.cost), "stopped_by": shown.fit.cap},
    }


def _at_risk(session: Session, shown: Preview) -> dict[str, Any]:
    clips, cost = session.at_risk(shown)
    return {"clips": clips, "cost": _units(cost)}


def has_work(shown: Preview) -> bool:
    """Whether a run would send or collect anything."""
    return bool(shown.purchases.clips or shown.plan.collecting)


def _outlook(shown: Preview) -> dict[str, Any] | None:
    if (outlook := shown.outlook) is None:
        return None
    seconds, median = round(outlook.seconds, 1), round(outlook.median, 1)
    return {"seconds": seconds, "median": median, "tasks": outlook.tasks, "max_in_flight": shown.max_in_flight}


def _hours(session: Session, shown: Preview) -> dict[str, Any]:
    opens_at, landing = session.hours.opens_at, shown.landing
    return {
        "opens_at": opens_at and opens_at.isoformat(),
        "ends_at": landing and landing.ends_at.isoformat(),
        "clips": landing and landing.clips,
    }


def _units(micro: int | None) -> float | None:
    return None if micro is None else micro / 1_000_000


def json_lines(session: Session, shown: Preview, *, jobs: int, listed: bool) -> Iterator[str]:
    """The object as text, piece by piece: with `listed` it holds each job and each file, however many there are."""
    text = json.dumps(document(session, shown, jobs=jobs), ensure_ascii=False)
    if not listed:
        yield text + "\n"
        return
    yield text[:-1]
    yield from _array("listed", map(_job, selected(session)))
    yield from _array("files", ({"path": frame.source, "bytes": size} for frame, size in session.leaving()))
    yield "}\n"


def _array(name: str, values: Iterator[dict[str, Any]]) -> Iterator[str]:
    yield f', "{name}": ['
    for number, value in enumerate(values):
        yield (",\n" if number else "\n") + json.dumps(value, ensure_ascii=False)
    yield "]"


def _job(one: Planned) -> dict[str, Any]:
    asked = one.request
    return {
        "key": one.key,
        "plan": one.verdict.value,
        "state": one.state.value if one.state is not None else None,
        "moved_from": one.moved_from,
        "fingerprint": one.fingerprint,
        "output": one.output,
        "billing": asked.billing_key if asked is not None else None,
        "seconds": asked.duration if asked is not None else None,
    }
