"""Free questions about a task or a purchase: their places in the query rate, and what an answer means for all others."""

from __future__ import annotations

import anyio

from batchrunner import answers
from batchrunner.envelope import retry_after
from batchrunner.polling import backoff
from batchrunner.providers.base import Exchange
from batchrunner.runner.board import Flight, Stop
from batchrunner.runner.context import Context
from batchrunner.settings import TROUBLED_AFTER, TROUBLED_SHOWN

QUERY_BACKOFF, QUERY_BACKOFF_CAP = 10.0, 120.0
"""Seconds to hold all questions after a 429 that does not say how long (API facts §1)."""


async def question(context: Context, name: str) -> Exchange:
    """One free question about a task or a purchase, and what its answer means for the pace of all."""
    board = context.board
    exchange = await context.provider.poll(name)
    board.heard(exchange.status is not None)
    if exchange.status == 429:
        now = anyio.current_time()
        asked = retry_after(exchange.headers, context.now())
        wait = asked or backoff(1, first=QUERY_BACKOFF, cap=QUERY_BACKOFF_CAP, chance=context.chance.random())
        board.query_pace = board.query_pace.slowed(now, now + wait)
    return exchange


async def further_question(context: Context, name: str) -> Exchange:
    """A question beyond the one that an action was begun for, whose place in the query rate was taken then."""
    board = context.board
    while board.query_pace.available(now := anyio.current_time()) < 1:  # noqa: ASYNC110  (time alone lets it through)
        await anyio.sleep(board.query_pace.wait(now))
    board.query_pace = board.query_pace.took(now)
    return await question(context, name)


async def poll(context: Context, flight: Flight) -> answers.PollOutcome:
    """Ask about a flight's task, and read the answer; one about another task of ours is no answer."""
    job = flight.job
    assert job.task_id is not None
    exchange = await question(context, job.task_id)
    flight.asked_at = anyio.current_time()
    named, others = answers.named_task(exchange), []
    if named is not None and named != job.task_id:
        owner = await context.writer.run(context.store.task_owner, named)
        if owner is not None:
            others.append(named)
    outcome = answers.poll(exchange, task_id=job.task_id, purchase_id=job.purchase_id, others=others, now=context.now())
    flight.proven = flight.proven or _is_of(exchange, job.purchase_id)
    if job.task_id in context.board.strays and not flight.proven:
        outcome = answers.Foreign(context.board.strays.pop(job.task_id))
    if isinstance(outcome, answers.Foreign) and flight.proven:
        outcome = answers.Later("answer_of_another_task")  # it was told otherwise before: somebody's answer went astray
    if flight.resumed and isinstance(outcome, answers.Working | answers.Finished | answers.TaskFailed):
        context.board.known = True
    _note_trouble(context, outcome)
    return outcome


def _is_of(exchange: Exchange, purchase_id: str | None) -> bool:
    """Whether an answer says that its task is of this purchase."""
    task = answers.described_task(exchange)
    return task is not None and purchase_id is not None and task.get("client_business_id") == purchase_id


def _note_trouble(context: Context, outcome: answers.PollOutcome) -> None:
    """A provider that answers everything with errors is asked on for a while, but not for ever."""
    board, now = context.board, anyio.current_time()
    if not isinstance(outcome, answers.Later) or outcome.reason == "result_missing":
        board.troubled_since, board.trouble_shown = None, False
        return
    board.troubled_since = now if board.troubled_since is None else board.troubled_since
    if now - board.troubled_since >= TROUBLED_SHOWN and not board.trouble_shown:
        board.trouble_shown = True
        context.held("trouble", f"the provider has answered nothing but errors for ten minutes ({outcome.reason})")
    if now - board.troubled_since >= TROUBLED_AFTER:
        board.stop(Stop.PROVIDER)
