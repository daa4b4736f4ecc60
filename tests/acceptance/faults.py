"""What the server can be told to do wrong, as plain data.

A fault is an object: `on` (submit, poll, upload, balance, download), `do` (below), and when: it looks at the requests of
that kind whose prompt holds `match` (all by default) and strikes from the `first` (1) on, `times` in all (1; 0 for ever),
or each time with the probability `share`.

    answer    {status, json | text, headers, accept}   answer this instead; `accept`: sell the clip all the same
    drop      {accept}                                 close the connection without a word
    mangle    {by, seed}                               the answer as it would be, through an operator of `mangling.py`
    forget    {}                                       sell the clip, and never know of it again
    delay     {seconds}                                then go on as usual
    wait      {}                                       go on when `/__open` is told so
    signal    {signal, when}                           to the client: arrived, accepted, answered; halfway of a download
    patch     {json, finished}                         a poll's answer with these fields changed
    respell   {words}                                  a poll's status in other words
    fail      {error}                                  the polled task has failed
    cut       {}                                       half a download, then silence
    clip      {duration}                               somebody else's clip, of this length
"""

from __future__ import annotations

import random
import threading
from typing import Any

Fault = dict[str, Any]


class Faults:
    """The faults in force. Safe to use from threads."""

    def __init__(self, faults: list[Fault], *, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._chance = random.Random(seed)
        self.replace(faults)

    def replace(self, faults: list[Fault]) -> None:
        """From now on these, counting from the beginning."""
        with self._lock:
            self._faults = [(fault, [0]) for fault in faults]

    def striking(self, kind: str, prompt: str) -> list[Fault]:
        """The faults that this request meets."""
        found = []
        with self._lock:
            for fault, seen in self._faults:
                if fault["on"] != kind or fault.get("match", "") not in prompt:
                    continue
                if "share" in fault:
                    if self._chance.random() < fault["share"]:
                        found.append(fault)
                    continue
                seen[0] += 1
                first, times = fault.get("first", 1), fault.get("times", 1)
                if seen[0] >= first and (not times or seen[0] < first + times):
                    found.append(fault)
        return found


def the(faults: list[Fault], do: str) -> Fault | None:
    """The first fault of this sort, if it strikes."""
    return next((fault for fault in faults if fault["do"] == do), None)
