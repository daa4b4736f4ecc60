"""A double of ToAPIs on loopback: the same HTTP, real clips, a ledger of everything it would have billed.

It is an implementation of the API page on its own: nothing of the client is used, so that a mistake in one shows up as a
disagreement between the two. `Emulator` runs it inside a process, `serve` as a command, `create_app` is the bare ASGI app.
"""

from batchrunner.emulator.app import create_app
from batchrunner.emulator.relay import Relay
from batchrunner.emulator.server import Emulator, serve

__all__ = ["Emulator", "Relay", "create_app", "serve"]
