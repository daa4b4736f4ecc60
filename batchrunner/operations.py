"""The use cases beside a run: what a person looks at and decides. Like `app`, it picks adapters and reads the clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio

from batchrunner import answers, doctor, replay, spendkey
from batchrunner.app import DATABASE, deciding, endpoint_of, looking, now, replay_proof
from batchrunner.collection import AT_PROVIDER, Collection, wanted
from batchrunner.doubts import Desk, doubts
from batchrunner.durable import private_file, write_durably
from batchrunner.errors import AccountError, BatchrunnerError, ProviderError, UsageError
from batchrunner.model import Balance, Batch, FrameDialect, ReplayProof
from batchrunner.outputs import OutputFolder
from batchrunner.providers.access import checked_base_url, checked_key
from batchrunner.providers.base import Collector, Exchange
from batchrunner.providers.http import HttpClient
from batchrunner.providers.toapis import ToApis, ToApisCollector, make_key
from batchrunner.purchase import key_fingerprint
from batchrunner.rehearsing import EMULATOR, EMULATOR_KEY
from batchrunner.run_request import EMULATOR_SPEED
from batchrunner.settings import API_BASE_URL, SETTLE, Limits
from batchrunner.states import JobState
from batchrunner.store.lock import DatabaseLock
from batchrunner.store.sqlite import SqliteStore


@contextmanager
def open_collection(
    database: Path | None, words: Sequence[str], *, failed: bool, out: Path | None, environ: Mapping[str, str]
) -> Iterator[Collection]:
    """What `fetch` collects, and a provider that cannot submit; nothing is asked and nothing is written yet."""
    states = (JobState.DONE, *AT_PROVIDER, *((JobState.FAILED,) if failed else ()))
    with deciding(database, words, states=states) as (store, found):
        batch = found.batch
        folder = OutputFolder(out.absolute() if out else Path(batch.folder or f"out/{batch.name}").absolute())
        some = wanted(found.jobs, named=found.named, now=now())
        if some.jobs:
            folder.check()
            _check_endpoint(batch, environ)
        rehearsal = batch.endpoint == EMULATOR
        yield Collection(
            batch=batch,
            wanted=some,
            store=store,
            database=database or DATABASE,
            folder=folder,
            limits=Limits().scaled(EMULATOR_SPEED) if rehearsal else Limits(),
            connect=partial(_connect_collector, batch, database or DATABASE, environ),
            clock=now,
        )


@contextmanager
def open_doubts(database: Path | None, words: Sequence[str], *, environ: Mapping[str, str]) -> Iterator[Desk]:
    """The doubts that the words are about, and a provider that cannot submit; nothing is asked and nothing is written yet."""
    with deciding(database, words, states=(JobState.IN_DOUBT, JobState.SUBMITTING)) as (store, found):
        some = doubts(store, found.jobs)
        if some:
            _check_endpoint(found.batch, environ)
        is_rehearsed = found.batch.endpoint == EMULATOR
        yield Desk(
            batch=found.batch,
            store=store,
            jobs=found.jobs,
            doubts=some,
            connect=partial(_connect_collector, found.batch, database or DATABASE, environ),
            clock=now,
            proof=None if is_rehearsed else replay_proof(store, environ),
            window=settle_window(found.batch),
        )


def settle_window(batch: Batch) -> float:
    """Seconds from a submission to the verdict on it; a rehearsal's pass as fast as its emulator's time does."""
    return SETTLE / EMULATOR_SPEED if batch.endpoint == EMULATOR else SETTLE


def _check_endpoint(batch: Batch, environ: Mapping[str, str]) -> None:
    """The tasks of one provider are unknown to another."""
    if batch.endpoint == EMULATOR:
        return
    checked_key(environ.get("TOAPIS_API_KEY"))
    if (endpoint := endpoint_of(environ)) != batch.endpoint:
        raise UsageError(
            f"batch {batch.name} belongs to {batch.endpoint}, and TOAPIS_BASE_URL leads to {endpoint}; nothing was asked",
            fix=f"set TOAPIS_BASE_URL to the address of {batch.endpoint}",
        )


async def _connect_collector(
    batch: Batch, database: Path, environ: Mapping[str, str], stack: AsyncExitStack
) -> Collector:
    """A provider without `submit`: whatever is done with it, nothing is bought."""
    if batch.endpoint != EMULATOR:
        base_url = checked_base_url(environ.get("TOAPIS_BASE_URL") or API_BASE_URL)
        http = HttpClient(base_url, checked_key(environ.get("TOAPIS_API_KEY")))
        return ToApisCollector(await stack.enter_async_context(http), endpoint=batch.endpoint)
    http = await stack.enter_async_context(_emulated(database, stack))
    return ToApisCollector(http, endpoint=EMULATOR)


def _emulated(
    database: Path, stack: AsyncExitStack, *, speed: float = EMULATOR_SPEED, full_clips: bool = False
) -> HttpClient:
    """A client of the emulator in this process, whose tasks lie beside the database."""
    from batchrunner.emulator.server import Emulator  # it loads a web server, which only a rehearsal needs

    state = database.with_name(database.name + ".emulator")
    emulator = stack.enter_context(Emulator.start(state_dir=state, speed=speed, full_clips=full_clips))
    return HttpClient(emulator.base_url, EMULATOR_KEY)


def diagnose(database: Path | None, environ: Mapping[str, str], *, online: bool) -> list[doctor.Finding]:
    """What is ready for a run and what is not; online it asks one question, which costs nothing."""
    findings = list(doctor.here(database or DATABASE, environ, now=now()))
    if online and not any(one.level is doctor.Level.WRONG for one in findings if one.name in ("key", "address")):
        endpoint = endpoint_of(environ)

        async def ask() -> Exchange:
            async with AsyncExitStack() as stack:
                http = HttpClient(
                    checked_base_url(environ.get("TOAPIS_BASE_URL") or API_BASE_URL),
                    checked_key(environ.get("TOAPIS_API_KEY")),
                )
                return await ToApisCollector(await stack.enter_async_context(http)).balance()

        findings += doctor.online(anyio.run(ask), endpoint, now=now())
    findings += _replay_findings(database or DATABASE, environ)
    return findings


def _replay_findings(path: Path, environ: Mapping[str, str]) -> Iterator[doctor.Finding]:
    """What an earlier `--prove-replay` saw of this address and key."""
    try:
        with looking(path) as store:
            proof = replay_proof(store, environ)
    except BatchrunnerError:  # another finding says so
        return
    if proof is not None:
        verdict = "proven" if proof.holds else "not proven"
        level = doctor.Level.OK if proof.holds else doctor.Level.NOTE
        yield doctor.Finding(name="replay", text=f"{verdict} on {proof.proved_at:%Y-%m-%d}: {proof.note}", level=level)


def capped_key(file: Path, environ: Mapping[str, str], *, name: str, credits: int, expires: datetime | None) -> bool:
    """Have the provider make a key that can spend so many credits, and write it into a new file and nowhere else.

    The file is made first, so that the key has a place when it comes. Whether the provider says that the cap holds.
    """
    base_url = checked_base_url(environ.get("TOAPIS_BASE_URL") or API_BASE_URL)
    key = checked_key(environ.get("TOAPIS_API_KEY"))

    async def ask(about: Callable[[HttpClient], Awaitable[Exchange]], key: str) -> Exchange:
        async with HttpClient(base_url, key) as http:
            return await about(http)

    with private_file(file) as written:
        asked = spendkey.body(name=name, credits=credits, expires=expires)
        made = spendkey.made(anyio.run(ask, lambda http: make_key(http, asked), key))
        if isinstance(made, spendkey.Refused):
            if made.perhaps:
                raise ProviderError(
                    f"the answer was lost ({made.message}): there may be a key {name!r} that nobody has; it bought nothing",
                    fix="remove it in the provider's console, then run the same command",
                )
            if made.unsent:
                raise ProviderError(
                    f"{endpoint_of(environ)} cannot be reached ({made.message}); nothing was sent",
                    fix="check the network and TOAPIS_BASE_URL, then run the same command",
                )
            raise AccountError(
                f"the provider makes no key: {made.message}; nothing was written",
                fix="make one in the provider's console, with a limit of its own, and put it into TOAPIS_API_KEY",
            )
        write_durably(written, f"TOAPIS_API_KEY={made}\n".encode())
    told = anyio.run(ask, lambda http: ToApisCollector(http).balance(), made)
    balance = answers.balance(told, now=now())
    return isinstance(balance, Balance) and balance.remaining == credits


def prove_replay(database: Path | None, environ: Mapping[str, str], *, floor: float) -> replay.Trial:
    """Buy one clip, repeat its request, and store what that proves; the clip is booked and collected like any other."""
    base_url = checked_base_url(environ.get("TOAPIS_BASE_URL") or API_BASE_URL)
    key, endpoint, path = checked_key(environ.get("TOAPIS_API_KEY")), endpoint_of(environ), database or DATABASE
    with ExitStack() as opened:
        opened.enter_context(DatabaseLock(path, now=now()))
        store = SqliteStore.open(path)
        opened.callback(store.close)
        batch = store.open_batch(replay.BATCH, endpoint=endpoint, currency=None, now=now())
        if batch.endpoint != endpoint:
            raise UsageError(
                f"an earlier trial in {path} was made at {batch.endpoint}; nothing was sent",
                fix="choose another with --db PATH",
            )
        store.recover(batch.id, now=now())
        job = replay.book(store, batch.id, now())

        async def try_it() -> replay.Trial:
            async with AsyncExitStack() as stack:
                http = await stack.enter_async_context(HttpClient(base_url, key))
                provider = ToApis(http, dialect=FrameDialect.URLS, endpoint=endpoint)
                return await replay.Trials(provider, store, clock=now, floor=floor).run(job)

        trial = anyio.run(try_it)
        store.record_proof(
            ReplayProof(
                base_url=base_url,
                model=replay.REQUEST.model,
                key=key_fingerprint(key, salt=store.salt()),
                proved_at=now(),
                holds=trial.holds,
                note=trial.why,
            )
        )
        return trial
