"""`batchrunner doubt …`: submissions whose answer was lost. Looking costs nothing; only a person lets one be sent again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from batchrunner import app, operations
from batchrunner.cli.advice import command as following
from batchrunner.cli.advice import run_again, ways
from batchrunner.cli.consent import consent
from batchrunner.cli.params import database_option, jobs_argument, no_proxy_option
from batchrunner.cli.words import plural, printable, put, say
from batchrunner.doubts import Doubt, Examination, Verdict, doubts
from batchrunner.errors import ExitCode, UsageError
from batchrunner.model import Batch
from batchrunner.report import summary
from batchrunner.selection import select
from batchrunner.states import JobState

PROMPT_SHOWN = 60
PROVEN = (Verdict.FOUND, Verdict.ABSENT)
OPEN = (JobState.IN_DOUBT, JobState.SUBMITTING)
note_option = click.option("--note", required=True, help="How you know: it is written into the job's history.")
yes_option = click.option("--yes", is_flag=True, help="Without asking.")


@click.group()
def command() -> None:
    """Submissions whose answer was lost: they may have been paid for, and are never sent again by themselves."""


@command.command("list")
@jobs_argument()
@database_option
@no_proxy_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def list_(words: tuple[str, ...], database: Path | None, as_json: bool) -> ExitCode:
    """What is in doubt, with everything that finds it in the provider's console. It only reads."""
    now = app.now()
    with app.looking(database) as store:
        found = select(store, words, states=OPEN)
        batch, some = found.batch, doubts(store, found.jobs)
    window = operations.settle_window(batch)
    if as_json:
        document = {
            "schema": "batchrunner/doubts@1",
            "batch": batch.name,
            "doubts": [_record(one, now, window) for one in some],
        }
        put(json.dumps(document, ensure_ascii=False) + "\n")
        return ExitCode.DONE
    for line in _listed(batch, some, now, window):
        say(printable(line))
    if some:
        say(f"next: {following('doubt', 'check', batch.name, database=database)}   (looks them up: free of charge)")
    return ExitCode.DONE


def _listed(batch: Batch, some: Sequence[Doubt], now: datetime, window: float) -> Iterator[str]:
    prices = [one.job.price for one in some if one.job.price is not None]
    stake = f", {summary.amount(sum(prices), batch.currency)} at stake" if prices else ""
    yield f"{batch.name}: {plural(len(some), 'submission')} in doubt{stake}"
    for one in some:
        request = one.job.request
        settled = "settled" if one.settled(now, window) else "not settled yet"
        price = "" if one.job.price is None else f", {summary.amount(one.job.price, batch.currency)}"
        yield f"  {one.job.key}  {one.job.reason or 'being sent'}, {_age(one, now)} old, {settled}{price}"
        yield f"    sent at  {one.intended_at:%Y-%m-%d %H:%M:%S} UTC   purchase {one.job.purchase_id}"
        ids = [f"request {one_id}" for one_id in one.request_ids] + (
            [f"candidate {one.candidate}"] if one.candidate else []
        )
        if ids:
            yield f"    ids      {', '.join(ids)}"
        prompt = request.prompt[:PROMPT_SHOWN] + ("…" if len(request.prompt) > PROMPT_SHOWN else "")
        yield f"    asked    {request.model} {request.mode.value} {request.duration} s  {prompt}"


def _age(one: Doubt, now: datetime) -> str:
    seconds = int(one.age(now).total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _record(one: Doubt, now: datetime, window: float) -> dict[str, Any]:
    request = one.job.request
    return {
        "key": one.job.key,
        "state": one.job.state.value,
        "reason": one.job.reason,
        "age": int(one.age(now).total_seconds()),
        "settled": one.settled(now, window),
        "intended_at": one.intended_at.isoformat(timespec="seconds"),
        "purchase_id": one.job.purchase_id,
        "candidate": one.candidate,
        "request_ids": list(one.request_ids),
        "model": request.model,
        "mode": request.mode.value,
        "duration": request.duration,
        "prompt": request.prompt[:PROMPT_SHOWN],
        "price": None if one.job.price is None else one.job.price / 1_000_000,
    }


@command.command()
@jobs_argument()
@database_option
@no_proxy_option
def check(words: tuple[str, ...], database: Path | None) -> ExitCode:
    """Look every purchase in doubt up at the provider, and say what that proves. It costs nothing and changes nothing."""
    with operations.open_doubts(database, words, environ=os.environ) as desk:
        if not desk.doubts:
            return _nothing(desk.batch)
        examination = desk.examine()
        _explain(examination, database)
        proven = [one for one in examination.findings if one.verdict in PROVEN]
        if proven:
            does = f"applies {plural(len(proven), 'proven verdict')}: found tasks are taken over, free of charge"
            say(f"next: {following('doubt', 'resolve', desk.batch.name, database=database)}   ({does})")
        rest = [one.doubt for one in examination.findings if one.verdict not in PROVEN]
        _advise(desk.batch, rest, examination, database, first=not proven)
        return ExitCode.IN_DOUBT if rest else ExitCode.DONE


@command.command()
@jobs_argument()
@database_option
@no_proxy_option
def resolve(words: tuple[str, ...], database: Path | None) -> ExitCode:
    """Apply what `check` can prove, and nothing else: tasks that the provider knows are taken over."""
    with operations.open_doubts(database, words, environ=os.environ) as desk:
        if not desk.doubts:
            return _nothing(desk.batch)
        examination = desk.examine()
        _explain(examination, database)
        applied = {one.doubt.job.id for one in desk.settle(examination)}
        rest = [one for one in desk.doubts if one.job.id not in applied]
        say(f"{desk.batch.name}: {len(applied)} resolved, {len(rest)} still in doubt")
        if applied:
            say(f"next: {run_again(desk.batch, database)}   (collects what was found, sends what was not bought)")
        _advise(desk.batch, rest, examination, database, first=not applied)
        return ExitCode.IN_DOUBT if rest else ExitCode.DONE


@command.command()
@jobs_argument(required=True, metavar="[BATCH] JOB TASK_ID")
@database_option
def attach(words: tuple[str, ...], database: Path | None) -> ExitCode:
    """Say which task a JOB in doubt is; it is believed only if the provider has that task, of this model and this time."""
    if len(words) < 2:
        raise UsageError(
            "attach needs a job and a task id; nothing was changed", fix="batchrunner doubt attach KEY TASK_ID"
        )
    *words_, task_id = words
    with operations.open_doubts(database, words_, environ=os.environ) as desk:
        job = desk.one()
        if job.task_id == task_id:
            say(f"{job.key} has task {task_id} already")
        else:
            desk.attach(task_id)
            say(f"{job.key}: task {task_id} is this purchase; it is taken over")
        say(f"next: {run_again(desk.batch, database)}   (collects it)")
    return ExitCode.DONE


@command.command()
@jobs_argument(required=True)
@note_option
@click.option("--unsettled", is_flag=True, help="Also before the settle window is over.")
@yes_option
@database_option
def retry(words: tuple[str, ...], note: str, unsettled: bool, yes: bool, database: Path | None) -> ExitCode:
    """Decide that JOBs were not bought: they are sent again, under the same purchase id. You may pay twice."""
    _check_note(note)
    with app.deciding(database, words, states=OPEN) as (store, found):
        some, now = doubts(store, found.jobs), app.now()
        if not some:
            return _nothing(found.batch)
        window = operations.settle_window(found.batch)
        early = [one.job.key for one in some if not one.settled(now, window)]
        if early and not unsettled:
            raise UsageError(
                f"{', '.join(early[:5])}: sent less than {window / 60:.2g} min ago, so it may still arrive; nothing was changed",
                fix="wait, and look first (free): batchrunner doubt check; or decide now with --unsettled",
            )
        _consent(f"may buy {plural(len(some), 'clip')} twice", some, found.batch, yes=yes)
        said = f"a person says it was not bought{', before the settle window was over' if early else ''}: {note}"
        with store.transaction():
            store.recover(found.batch.id, now=now)
            done = sum(store.record_absent(one.job.id, note=said, not_before=None, now=now) for one in some)
    say(f"{found.batch.name}: {plural(done, 'job')} pending again, with the same purchase id")
    say(f"next: {run_again(found.batch, database)}   (sends {'it' if done == 1 else 'them'})")
    return ExitCode.DONE


@command.command()
@jobs_argument(required=True)
@note_option
@yes_option
@database_option
def abandon(words: tuple[str, ...], note: str, yes: bool, database: Path | None) -> ExitCode:
    """Give JOBs in doubt up: they have failed, and their price counts as spent."""
    _check_note(note)
    with app.deciding(database, words, states=OPEN) as (store, found):
        some, now = doubts(store, found.jobs), app.now()
        if not some:
            return _nothing(found.batch)
        _consent(f"gives up {plural(len(some), 'clip')} that may be paid for", some, found.batch, yes=yes)
        with store.transaction():
            store.recover(found.batch.id, now=now)
            done = sum(store.record_abandoned(one.job.id, note=note, now=now) for one in some)
    say(f"{found.batch.name}: {plural(done, 'job')} abandoned; the price counts as spent")
    say(f"next: {following('retry', found.batch.name, some[0].job.key, database=database)}   (buys it again: asks)")
    return ExitCode.DONE


def _check_note(note: str) -> None:
    if not note.strip():
        raise UsageError("--note is empty; nothing was changed", fix='say how you know: --note "not in the console"')


def _consent(what: str, some: Sequence[Doubt], batch: Batch, *, yes: bool) -> None:
    """Say what it may cost, and ask."""
    prices = [one.job.price for one in some if one.job.price is not None]
    money = f": {summary.amount(sum(prices), batch.currency)}" if prices else ""
    say(
        f"  this {what}{money}  ({', '.join(one.job.key for one in some[:5])}{' …' if len(some) > 5 else ''})", err=True
    )
    if not yes:
        consent(
            "Do it?", needs="that needs", refused="nothing was changed", fix="look first, free: batchrunner doubt check"
        )


def _nothing(batch: Batch) -> ExitCode:
    say(f"{batch.name}: nothing is in doubt")
    return ExitCode.DONE


def _explain(examination: Examination, database: Path | None) -> None:
    for one in examination.findings:
        say(printable(f"  {one.doubt.job.key}  {one.verdict.value}: {one.why}"))
    say(printable(f"  control  {examination.control}"))
    if examination.balance is not None:
        left = "no limit" if examination.balance.remaining is None else f"{examination.balance.remaining:g} left"
        say(f"  balance  {examination.balance.used:g} credits used by this key, {left}")
    if examination.sums is not None:
        say(printable(f"  sums     {examination.sums}"))


def _advise(
    batch: Batch, rest: Sequence[Doubt], examination: Examination, database: Path | None, *, first: bool
) -> None:
    """What a person can do about what no evidence settles."""
    if not rest:
        return
    key = rest[0].job.key if len(rest) == 1 else "KEY"
    proving = (
        following("doctor", "--prove-replay", database=database),
        "buys one clip, by which the next run can settle it by itself",
    )
    helping = (
        *((proving,) if examination.is_first else ()),
        (
            following("doubt", "attach", batch.name, key, "TASK_ID", database=database),
            "the console lists it at that second",
        ),
        (following("doubt", "retry", batch.name, key, "--note", "…", database=database), "it does not: send it again"),
        (following("doubt", "abandon", batch.name, key, "--note", "…", database=database), "give it up"),
    )
    for number, line in enumerate(ways(helping)):
        say(line if number or first else line.replace("next:", "  or:"))
