"""Serves the emulator on loopback: in a thread of this process, or as a command until it is told to stop.

It is the emulator's composition root.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Self

import uvicorn

from batchrunner.emulator import lifecycle
from batchrunner.emulator.app import create_app
from batchrunner.emulator.clock import ManualClock, SteadyClock
from batchrunner.emulator.prices import CREDITS_PER_USD
from batchrunner.emulator.relay import CREDITS, Clock, Relay
from batchrunner.emulator.scenarios import Config
from batchrunner.emulator.wire import Protocol
from batchrunner.errors import StorageError, UsageError

HOST = "127.0.0.1"
"""Only ever loopback: the emulator takes any key and fetches any URL."""
KEEP_ALIVE = 75
"""Seconds, as nginx has it; uvicorn's 5 would close connections just as a client's pool uses them again."""
STOP_TIMEOUT = 1
"""Seconds that answers under way get when the emulator stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the emulator has sold and done wrong, in sum."""

    accepted: int
    billed_usd: float
    """Charged and not refunded."""
    refunded_usd: float
    met: Counter[str]
    """Faults that fired and refusals, by name."""

    def since(self, before: Books) -> Books:
        """What came in between."""
        return Books(
            accepted=self.accepted - before.accepted,
            billed_usd=self.billed_usd - before.billed_usd,
            refunded_usd=self.refunded_usd - before.refunded_usd,
            met=self.met - before.met,
        )


class Emulator:
    """The emulator, running in a daemon thread with an event loop of its own. Use it as a context manager."""

    def __init__(self, relay: Relay, listener: socket.socket) -> None:
        self.relay = relay
        self.base_url = f"http://{HOST}:{listener.getsockname()[1]}"
        self._listener = listener
        self._ready = threading.Event()
        config = uvicorn.Config(
            create_app(relay, on_ready=self._ready.set),
            lifespan="on",
            log_config=None,  # logging is the host program's
            log_level="warning",
            access_log=False,
            ws="none",
            server_header=False,  # a fault says whose page it is
            http=Protocol,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=STOP_TIMEOUT,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="emulator-server", daemon=True)

    @classmethod
    def start(
        cls,
        *,
        state_dir: Path | None = None,
        speed: float = 1.0,
        port: int = 0,
        seed: int = 0,
        credits: int | None = CREDITS,
        config: Config | None = None,
        clock: Clock | None = None,
        full_clips: bool = False,
    ) -> Self:
        """Start it; when this returns it takes connections. Port 0 is any free one, and the clock the real one."""
        listener = _listen(port)
        try:
            relay = Relay(
                clock=clock or SteadyClock(),
                state_dir=state_dir,
                speed=speed,
                seed=seed,
                credits=credits,
                config=config,
                full_clips=full_clips,
            )
        except OSError as error:
            listener.close()
            raise StorageError(f"the emulator cannot keep its state in {state_dir}: {error}") from error
        except BaseException:
            listener.close()
            raise
        emulator = cls(relay, listener)
        emulator._thread.start()
        emulator._ready.wait()  # the socket listens already, so a connection made from now on is answered
        return emulator

    def stop(self) -> None:
        """Stop taking connections, let answers under way finish, and keep the state."""
        self.relay.closing = True
        self._server.should_exit = True
        self._thread.join()

    def books(self) -> Books:
        """How things stand."""
        ledger, now = self.relay.ledger, self.relay.clock()
        return Books(
            accepted=len(ledger.entries()),
            billed_usd=ledger.billed_credits(now) / CREDITS_PER_USD,
            refunded_usd=ledger.refunded_credits(now) / CREDITS_PER_USD,
            met=ledger.fault_counts() + self.relay.refusals,
        )

    def busy_until(self) -> float:
        """When the last of the tasks ended that have ended by now; unix seconds, 0 for none."""
        now = self.relay.clock()
        ends = [lifecycle.ended_at(entry) for entry in self.relay.ledger.entries()]
        return max((end for end in ends if end <= now), default=0.0)

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])  # off the main thread uvicorn leaves signals alone
        finally:
            self._ready.set()  # if it could not start, nobody shall wait for it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def serve(
    *,
    port: int = 0,
    speed: float = 1.0,
    state_dir: Path | None = None,
    seed: int = 0,
    config: Config | None = None,
    manual_clock: bool = False,
    full_clips: bool = False,
    on_ready: Callable[[str], None] = lambda base_url: None,
) -> int:
    """Run the emulator until SIGINT or SIGTERM, and return which. `on_ready` is told the base URL. Main thread only.

    `manual_clock`: time stands still but for `POST /__clock`.
    """
    clock: Clock = SteadyClock()
    if manual_clock:
        clock = ManualClock(clock())
    start = partial(
        Emulator.start,
        state_dir=state_dir,
        speed=speed,
        port=port,
        seed=seed,
        config=config,
        clock=clock,
        full_clips=full_clips,
    )
    with _stop_signal() as stopped, start() as emulator:
        on_ready(emulator.base_url)
        return stopped()


@contextmanager
def _stop_signal() -> Iterator[Callable[[], int]]:
    """A function that waits for the signal to stop, which cannot be missed between start and wait."""
    received: list[int] = []
    event = threading.Event()

    def receive(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        event.set()

    def wait() -> int:
        while not event.wait(0.5):  # Windows delivers signals only between two waits
            pass
        return received[0]

    previous = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wait
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _listen(port: int) -> socket.socket:
    # The protocol is named because asyncio turns Nagle's delay of 40 ms off only for sockets that do so.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # on Windows it would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(512)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(
            f"port {port} on {HOST} cannot be used: {error}",
            fix="choose another --port, or 0 for any free one",
        ) from error
    return listener
