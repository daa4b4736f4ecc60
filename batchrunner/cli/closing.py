"""What `run` says in the end: how it went, and the command that comes next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from batchrunner.cli.advice import after_doubts, after_failures, command, ways
from batchrunner.cli.words import shown
from batchrunner.errors import ExitCode
from batchrunner.nights import date_option
from batchrunner.report import rehearsal, summary
from batchrunner.runner.board import Stop
from batchrunner.session import Report, Session
from batchrunner.states import JobState
from batchrunner.store.base import SAMPLE

SHOWN_KEYS = SAMPLE


def _moment(at: datetime) -> str:
    """A moment by this machine's clock."""
    return f"{at.astimezone():%a %Y-%m-%d %H:%M}"


def lines(session: Session, report: Report, *, again: str) -> Iterator[str]:
    """The summary: what was made and where, what was not and why, and the command that comes next."""
    counts = report.outcome.counts
    yield f"{session.batch.name}: {summary.standing(counts)}"
    if counts.get(JobState.DONE):
        yield f"  clips   {shown(report.folder)}"
    yield f"  bought  {_bought(session, report)}"
    if session.rehearsal is not None and session.rehearsal.seconds:
        yield from rehearsal.lines(session.rehearsal)
    if report.outcome.audit:
        yield f"  audit   {report.outcome.audit}"
    for failed in report.failures:
        yield f"  failed  {failed.reason}: {_some(failed.keys)}"
        if failed.message:
            yield f"          {failed.message}"
        yield f"          {failed.remedy}"
    for reason in list(report.outcome.blocked.values())[:SHOWN_KEYS]:
        yield f"  waits   {reason}"
    yield from _in_doubt(session, report)
    yield from _stopped(session, report)
    missing = session.missing_files()
    if missing:
        keys = _some(missing)
        yield f"  gone    finished, but no longer where it was put; not bought again: {keys}"
        fetch = command("fetch", session.batch.name, database=report.database)
        yield f"          where the provider still has it, free of charge: {fetch}"
    yield from _next(session, report, again)


def _bought(session: Session, report: Report) -> str:
    text = summary.bought(report.money, report.currency)
    return f"{text}, on the emulator: no money" if session.request.emulator else text


def _in_doubt(session: Session, report: Report) -> Iterator[str]:
    count = report.outcome.doubts
    if count:
        noun = "submission" if count == 1 else "submissions"
        yield f"  doubt   {count} {noun} may have been paid for, but the answer was lost; nothing was sent again"
        yield f"          see them: {command('doubt', 'list', session.batch.name, database=report.database)}"
        yield from _without_a_place(session, report)


def _without_a_place(session: Session, report: Report) -> Iterator[str]:
    """Doubts keep their places in flight, and may leave none."""
    waiting, places = report.outcome.counts.get(JobState.PENDING, 0), session.limits.max_in_flight
    if waiting and report.outcome.doubts >= places and not report.outcome.stops:
        noun = "clip" if waiting == 1 else "clips"
        yield f"  waits   {waiting} {noun}: what is in doubt holds every place in flight (max_in_flight {places})"


def _unsent(report: Report) -> str:
    count = report.outcome.counts.get(JobState.PENDING, 0)
    return f": {count} {'clip' if count == 1 else 'clips'} not sent, for want of time to land" if count else ""


def _stopped(session: Session, report: Report) -> Iterator[str]:
    stops = report.outcome.stops
    sentences = {
        Stop.SIGINT: "by Ctrl-C",
        Stop.SIGTERM: "by a signal",
        Stop.DEADLINE: f"by the deadline{_unsent(report)}",
        Stop.WINDOW: f"outside of the window {session.hours.window}: nothing was bought",
        Stop.STORAGE: "a clip could not be stored",
        Stop.ACCOUNT: "the account: nothing more is bought, every waiting job keeps its place",
        Stop.PROVIDER: "the provider does not answer",
        Stop.REFUSING: "the provider refuses for now, and has done so for long",
        Stop.BUDGET: "by the budget",
        Stop.FAILURES: "by too many failures",
        Stop.CANARY: "by its canary",
    }
    for stop in stops:
        why = f" ({report.paused})" if report.paused and stop in (Stop.ACCOUNT, Stop.STORAGE, Stop.REFUSING) else ""
        if why and stop is not Stop.REFUSING and report.paused_message:
            why = f" ({report.paused}: {report.paused_message})"
        if report.paused == stop.value and report.paused_message:
            why = f": {report.paused_message}"
        yield f"  stopped {sentences[stop]}{why}"
    making = summary.at_provider(report.outcome.counts)
    if making:
        yield f"  paid    {making} {'clip is' if making == 1 else 'clips are'} still being made or waiting at the provider,"
        yield "          paid for and kept for 24 hours"


def _next(session: Session, report: Report, again: str) -> Iterator[str]:
    if report.exit_code is ExitCode.DONE and not report.outcome.counts.get(JobState.PENDING):
        yield f"next: {command('ls', session.batch.name, database=report.database)}"
        if session.plan.changed:
            anew = replace(session.request, redo=("changed",))
            yield f"  or: {anew.plan_command}"
            yield "      (what buying the new version of the changed ones would cost; they are kept as bought)"
        if session.request.emulator:
            yield f"      for real, with TOAPIS_API_KEY set: batchrunner run {session.request.source}"
    elif report.exit_code is ExitCode.SOME_FAILED:
        reasons = [failed.reason for failed in report.failures]
        yield from ways(after_failures(session.batch.name, reasons, report.database, again=again))
    elif report.exit_code is ExitCode.IN_DOUBT:
        yield from ways(after_doubts(session.batch.name, report.database))
    elif report.exit_code is ExitCode.BUDGET:
        yield f"next: {session.request.plan_command}"
        yield "      (what each cap leaves, and what fits into it)"
        yield f"  or: {again}"
        yield "      (once the cap is raised or free again; nothing is bought twice)"
    elif report.exit_code is ExitCode.DEADLINE:
        yield from _another_time(session, again)
    else:
        yield f"next: {again}"
        yield "      (the same command continues; nothing is bought twice)"


def _another_time(session: Session, again: str) -> Iterator[str]:
    """How a run goes on that its deadline or its window has stopped."""
    opens_at = session.hours.next_opening
    begun = any(session.counts().values())
    if session.is_dated and session.request.date is None and begun:
        again = f"{again} {shlex.join(date_option(session.batch.name))}"  # the next night is another batch
    yield f"next: {again}"
    if opens_at is None:
        yield "      (the same command continues; nothing is bought twice)"
    else:
        yield f"      (from {_moment(opens_at)} on, or at once with --window none; nothing is bought twice)"


def _some(keys: tuple[str, ...] | list[str], count: int | None = None) -> str:
    """The first of the keys, of which there are `count`, and how many more."""
    more = (len(keys) if count is None else count) - SHOWN_KEYS
    return ", ".join(keys[:SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")


def as_json(session: Session, report: Report) -> str:
    """The summary as one line of JSON."""
    return json.dumps(
        {
            "type": "run.finished",
            "batch": session.batch.name,
            "exit_code": int(report.exit_code),
            "counts": {state.value: count for state, count in report.outcome.counts.items() if count},
            "stopped": sorted(stop.value for stop in report.outcome.stops),
            "in_doubt": report.outcome.doubts,
            "audit": report.outcome.audit,
            "unfinished_nights": [night.batch.name for night in session.unfinished_nights()],
            "missing_files": session.missing_files(),
            **({"rehearsal": rehearsal.as_json(session.rehearsal)} if session.rehearsal else {}),
            "folder": str(report.folder),
            "database": str(report.database),
        },
        ensure_ascii=False,
    )
