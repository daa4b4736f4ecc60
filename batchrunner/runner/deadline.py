"""A deadline is kept by not beginning what would come too late."""

from __future__ import annotations

from batchrunner.canary import spoken
from batchrunner.runner.context import Context
from batchrunner.schedule import lands_within


async def hold_late(context: Context) -> bool:
    """Keep back what could not land before the deadline; whether there was any of it."""
    board, deadline = context.board, context.options.deadline
    if deadline is None:
        return False
    left = (deadline - context.now()).total_seconds()
    late = set()
    for kind in {job.request.kind for job in board.ready}:
        await context.lessons.look_up(kind)
        needs = lands_within(kind, context.lessons.of(kind), context.limits)
        if needs > left:
            late.add(kind)
            if kind not in board.late:
                at = deadline.astimezone()
                why = f"clips of {spoken(kind)} take up to {needs:.0f} s: too long to be here by {at:%H:%M}"
                context.held("deadline", why)
    board.hold_late(frozenset(late))
    return bool(late)
