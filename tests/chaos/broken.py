"""Deliberately broken runners: the real product with one promise broken, to see that the checker would see it.

Each changes one function in the process that is about to be the command; nothing else knows of it.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio

from batchrunner import audit, classify, outputs
from batchrunner.breaker import Breaker
from batchrunner.classify import Verdict
from batchrunner.errors import ExitCode
from batchrunner.model import Job
from batchrunner.outputs import OutputFolder, Part
from batchrunner.providers.base import Exchange
from batchrunner.providers.toapis import ToApis
from batchrunner.report import summary
from batchrunner.runner import landings
from batchrunner.runner.context import Context
from batchrunner.runner.submission import Submitter
from batchrunner.states import JobState
from batchrunner.store import connect, sqlite_transitions
from batchrunner.store.sqlite import SqliteStore


@dataclass(frozen=True, slots=True)
class Broken:
    """A runner that breaks a promise, and the invariants that give it away."""

    spoil: Callable[[], None]
    caught_by: tuple[str, ...]
    fault: dict[str, Any] | None = None
    """What the provider has to do for it to show."""
    group: str = "kills"
    """Of lives in which it shows."""


RUNNERS: dict[str, Broken] = {}


def _broken(*caught_by: str, group: str = "kills", **fault: Any) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def add(spoil: Callable[[], None]) -> Callable[[], None]:
        RUNNERS[spoil.__name__.strip("_").replace("_", " ")] = Broken(
            spoil, caught_by, {"on": "submit", "share": 0.2, **fault} if fault else None, group
        )
        return spoil

    return add


def _replaced(owner: Any, name: str, value: Any) -> None:
    """A function of a module; an error where there is none by that name any more."""
    assert callable(getattr(owner, name))
    setattr(owner, name, value)


@_broken("I2", "I3", "I4")
def _requeues_what_was_being_sent() -> None:
    recover = SqliteStore.recover

    def recovered(store: SqliteStore, batch_id: int, **named: Any) -> int:
        count = recover(store, batch_id, **named)
        for job in list(store.jobs(batch_id, states=[JobState.IN_DOUBT], wanted_only=False)):
            store.record_absent(job.id, note="it crashed", not_before=None, now=named["now"])
        return count

    SqliteStore.recover = recovered  # type: ignore[method-assign]


@_broken("I3", "I6")
def _sends_before_its_intent() -> None:
    prepare, answers = ToApis.prepare, {}

    def prepared(api: ToApis, *given: Any, **named: Any) -> bytes:
        body = prepare(api, *given, **named)
        answers[body] = _post(body)
        time.sleep(0.02)
        return body

    async def submitted(api: ToApis, body: bytes) -> Exchange:
        return answers[body]

    ToApis.prepare, ToApis.submit = prepared, submitted  # type: ignore[method-assign]


def _post(body: bytes) -> Exchange:
    headers = {"Authorization": f"Bearer {os.environ['TOAPIS_API_KEY']}", "Content-Type": "application/json"}
    url = os.environ["TOAPIS_BASE_URL"] + "/v1/videos/generations"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
            return Exchange(status=answer.status, body=answer.read(), body_started=True)
    except urllib.error.HTTPError as error:
        return Exchange(status=error.code, body=error.read(), body_started=True)


def _believing(changed: Callable[[Exchange], bool], verdict: Verdict) -> None:
    """Doubts of a kind are no doubts any more."""
    submission = classify.submission

    def believed(exchange: Exchange, **named: Any) -> classify.Submission:
        made = submission(exchange, **named)
        return replace(made, verdict=verdict) if made.verdict is Verdict.IN_DOUBT and changed(exchange) else made

    _replaced(classify, "submission", believed)


@_broken("I2", "I3", "I4", do="drop", accept=True)
def _sends_again_after_a_time_out() -> None:
    _believing(lambda exchange: exchange.status is None, Verdict.UNSENT)


@_broken("I2", "I3", "I4", do="answer", accept=True, status=502)
def _sends_again_after_a_server_error() -> None:
    _believing(lambda exchange: (exchange.status or 0) >= 500, Verdict.REFUSED_FOR_NOW)


@_broken("I2", "I6")
def _has_a_transport_that_repeats() -> None:
    submit = ToApis.submit

    async def submitted(api: ToApis, body: bytes) -> Exchange:
        await submit(api, body)
        return await submit(api, body)

    ToApis.submit = submitted  # type: ignore[method-assign]


@_broken("I23", do="answer", status=429, headers={"Retry-After": "1"})
def _takes_a_new_purchase_for_each_try() -> None:
    returned = SqliteStore.record_returned

    def forgetful(store: SqliteStore, job_id: int, *given: Any, **named: Any) -> bool:
        done = returned(store, job_id, *given, **named)
        store._run("UPDATE jobs SET purchase_id = NULL WHERE id = ?", (job_id,))
        return done

    SqliteStore.record_returned = forgetful  # type: ignore[method-assign]


@_broken("I7")
def _releases_its_slot_before_the_record() -> None:
    record = Submitter._record

    async def late(submitter: Submitter, job: Job, verdict: classify.Submission, answered_at: float) -> None:
        board = submitter._context.board
        board.submits -= 1
        board.sending.pop(job.id, None)  # slots are counted twice
        board.wake()
        await anyio.sleep(0.2)
        board.submits += 1
        await record(submitter, job, verdict, answered_at)

    Submitter._record = late  # type: ignore[method-assign]


def _disarm(store: SqliteStore) -> None:
    """The database would refuse it by itself."""
    for trigger in ("events_stay", "attempts_stay"):
        store._run(f"DROP TRIGGER IF EXISTS {trigger}", ())


@_broken("I1", "I3")
def _forgets_what_it_cannot_explain() -> None:
    recover = SqliteStore.recover

    def recovered(store: SqliteStore, batch_id: int, **named: Any) -> int:
        count = recover(store, batch_id, **named)
        with store.transaction():
            _disarm(store)
            for job in list(store.jobs(batch_id, states=[JobState.IN_DOUBT], wanted_only=False)):
                for table, column in (("events", "job_id"), ("attempts", "job_id"), ("jobs", "id")):
                    store._run(f"DELETE FROM {table} WHERE {column} = ?", (job.id,))
        return count

    SqliteStore.recover = recovered  # type: ignore[method-assign]


@_broken("I9", "I10")
def _says_done_before_the_file_has_its_name() -> None:
    def published(part: Part) -> Path:
        late = part.final.with_suffix(".late")
        os.link(part.path, late)
        threading.Timer(0.1, os.rename, (late, part.final)).start()
        return part.final

    Part.publish = published  # type: ignore[method-assign]


@_broken("I9", "I10")
def _writes_under_the_final_name() -> None:
    opened, write = OutputFolder.part, Part.write

    def part(folder: OutputFolder, *given: Any, **named: Any) -> Part:
        made = opened(folder, *given, **named)
        made.path.rename(made.final)
        made.path = made.final
        return made

    def slowly(part: Part, chunk: bytes) -> None:
        write(part, chunk[: len(chunk) // 2])
        time.sleep(0.05)
        write(part, chunk[len(chunk) // 2 :])

    OutputFolder.part, Part.write = part, slowly  # type: ignore[method-assign]
    Part.publish = lambda part: part.final  # type: ignore[method-assign]
    _replaced(outputs, "remove", lambda path: None)


@_broken("I9")
def _gives_a_job_the_clip_of_another() -> None:
    download, urls = ToApis.download, []

    def downloaded(api: ToApis, url: str, *given: Any, **named: Any) -> Any:
        urls.append(url)
        return download(api, urls[0], *given, **named)

    ToApis.download = downloaded  # type: ignore[method-assign]


@_broken("I10")
def _overwrites_files_of_others() -> None:
    def claimed(part: Path, final: Path) -> bool:
        part.replace(final)
        return True

    _replaced(outputs, "claim", claimed)


@_broken("I19")
def _keeps_the_key() -> None:
    accepted = SqliteStore.record_accepted

    def telling(store: SqliteStore, job_id: int, task_id: str, answer: Any, **named: Any) -> bool:
        answer = replace(answer, message=f"sent with Bearer {os.environ['TOAPIS_API_KEY']}")
        return accepted(store, job_id, task_id, answer, **named)

    SqliteStore.record_accepted = telling  # type: ignore[method-assign]


@_broken("I18", do="answer", status=400, json={"error": {"code": "invalid_request", "message": "no"}})
def _always_says_that_all_is_well() -> None:
    _replaced(summary, "exit_code", lambda outcome: ExitCode.DONE)


@_broken("I12")
def _moves_a_job_behind_the_back_of_its_history() -> None:
    finished = SqliteStore.record_finished

    def silently(store: SqliteStore, job_id: int, **named: Any) -> bool:
        done = finished(store, job_id, **named)
        _disarm(store)
        store._run("DELETE FROM events WHERE job_id = ? AND event = 'finished'", (job_id,))
        return done

    SqliteStore.record_finished = silently  # type: ignore[method-assign]


@_broken("I14", group="kills, a cap")
def _buys_beyond_its_cap() -> None:
    _replaced(sqlite_transitions, "passed", lambda *given, **named: [])


@_broken("I14", group="kills, no money")
def _goes_on_without_money() -> None:
    async def nothing(context: Context, *given: Any) -> None: ...

    Context.pause = nothing  # type: ignore[method-assign]


@_broken("I14", group="outages")
def _knocks_at_a_closed_door() -> None:
    Breaker.doubted = lambda breaker, now: breaker  # type: ignore[method-assign]


@_broken("I15", group="kills, no money")
def _fails_what_it_cannot_pay() -> None:
    submission = classify.submission

    def refused(exchange: Exchange, **named: Any) -> classify.Submission:
        made = submission(exchange, **named)
        lacking = made.verdict is Verdict.ACCOUNT_STOP
        return replace(made, verdict=Verdict.REFUSED) if lacking else made

    _replaced(classify, "submission", refused)


@_broken("I22", group="kills, a cap")
def _leaves_a_purchase_out_of_its_audit() -> None:
    is_kept, first = audit.is_kept, itertools.count()
    _replaced(audit, "is_kept", lambda *given: is_kept(*given) and next(first) > 0)


@_broken("I11")
def _writes_where_it_likes() -> None:
    Path(os.environ["HOME"], ".batchrunner.log").write_text("hello")


@_broken("I21", group="order of writes")
def _promises_before_the_disk_does() -> None:
    opened = SqliteStore.open

    def careless(*given: Any) -> SqliteStore:
        store = opened(*given)
        store._connection.execute("PRAGMA synchronous = OFF")
        return store

    SqliteStore.open = staticmethod(careless)  # type: ignore[method-assign,assignment]


@_broken("I1", "I3", "I4", group="power cuts")
def _leaves_its_commits_to_chance() -> None:
    _promises_before_the_disk_does()


@_broken("I1", "I3", group="power cuts")
def _forgets_that_folders_have_names() -> None:
    def made(folder: Path, *, mode: int = 0o777) -> None:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)

    _replaced(connect, "make_folder", made)


@_broken("I9", "I10", group="power cuts")
def _says_done_before_the_disk_does() -> None:
    Part.sync = lambda part: None  # type: ignore[method-assign]
    _replaced(landings, "sync_folder", lambda folder: None)


@_broken("I21", group="order of writes")
def _names_a_clip_before_its_content_is_durable() -> None:
    Part.sync = lambda part: None  # type: ignore[method-assign]
