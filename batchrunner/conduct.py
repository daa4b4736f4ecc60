"""Conducting a run: the preflight, the signals, and an error that comes out as what it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import anyio

from batchrunner import answers
from batchrunner.errors import AccountError, ExitCode, ProviderError
from batchrunner.model import Balance
from batchrunner.process import Watchdog
from batchrunner.providers.base import Collector
from batchrunner.runner.board import Stop
from batchrunner.runner.loop import Outcome, Runner

PREFLIGHT_TRIES = 3
STOPPING = "nothing more is bought; requests under way get 30 s to be answered, then this run leaves"
LEAVING = "left at once; the same command looks up what was being submitted"
SHOW_CURSOR = "\x1b[?25h"
"""A live view hides the cursor; leaving at once must give it back."""


async def conduct(runner: Runner, provider: Collector, watchdog: Watchdog, *, clock: Callable[[], datetime]) -> Outcome:
    """Preflight and run under the signals; an error comes out as what it is, not in a group."""
    outcome: Outcome | None = None
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(watchdog.keep, name="heartbeat")
        try:
            with anyio.CancelScope() as asking:
                group.start_soon(_watch_signals, runner, asking, name="signals")
                if (balance := await preflight(provider, clock)) is not None:
                    await runner.begin(balance)
            outcome = await runner.run()
        except Exception as error:  # noqa: BLE001 - raised again below, outside the group
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    assert outcome is not None
    return outcome


async def preflight(provider: Collector, clock: Callable[[], datetime]) -> Balance | None:
    """Ask for the balance, which costs nothing, before anything else; None when the answer cannot be read."""
    for attempt in range(1, PREFLIGHT_TRIES + 1):
        exchange = await provider.balance()
        if exchange.status is not None:
            outcome = answers.balance(exchange, now=clock())
            if isinstance(outcome, answers.AccountStop):
                raise AccountError(
                    f"the provider refuses this key: {outcome.message}; nothing was sent",
                    fix="check TOAPIS_API_KEY and the account's balance, then run the same command",
                )
            return outcome if isinstance(outcome, Balance) else None
        if attempt < PREFLIGHT_TRIES:
            await anyio.sleep(attempt)
    raise ProviderError(
        f"{provider.endpoint} cannot be reached ({exchange.error}); nothing was sent",
        fix="check the network and TOAPIS_BASE_URL, then run the same command",
    )


async def _watch_signals(runner: Runner, asking: anyio.CancelScope) -> None:
    """The first signal ends the run in good order, the second at once; both are safe."""
    import signal

    kinds = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # nohup asks us to stay
        kinds.append(hangup)
    with anyio.open_signal_receiver(*kinds) as signals:
        stopping = False
        async for number in signals:
            stop = Stop.SIGINT if number == signal.SIGINT else Stop.SIGTERM
            if stopping:
                with suppress(AttributeError, OSError, ValueError):  # nobody may be reading any more
                    shown = SHOW_CURSOR if sys.stderr.isatty() else ""
                    doubtful = f", which is now in doubt: {', '.join(runner.sending)}" if runner.sending else ""
                    sys.stderr.write(f"{shown}\n{LEAVING}{doubtful}\n")
                    sys.stderr.flush()
                os._exit(ExitCode.SIGINT if stop is Stop.SIGINT else ExitCode.SIGTERM)
            stopping = True
            runner.stop(stop)
            runner.held("stopping", STOPPING)
            asking.cancel()
