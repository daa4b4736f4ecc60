"""A life: one batch in a folder of its own, run again and again while something goes wrong, until all is settled.

What goes wrong is a `Trouble`: it strikes one run, and says in which phase it struck. The checker looks on after each.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from tests.acceptance import prompts
from tests.acceptance.world import FAST, KEY

from . import checker, launch, providers, tracing
from .checker import Violation
from .evidence import Evidence, Said, Traffic
from .launch import Child, Hang

SLOTS = 4
COMES_TO_AN_END = "I16 the same command comes to an end, and then buys nothing"
RUNS_FOR_A_DOUBT = 3
"""Runs that may look for evidence; what is in doubt then is left to a person."""
GROWTH = 20
"""Jobs that are added to a batch that was over before it was struck: the next strike needs something to strike. As many
more may be bought where a cap or the account had ended the buying."""
CREDITS = 84
"""What the independent server asks for a clip of these batches."""
PLENTY = 10**6
RUNS_TO_THE_END = 25
"""Undisturbed runs after which a batch that is not settled never will be."""
CHANCES: tuple[dict[str, Any], ...] = (
    {"on": "submit", "share": 0.05, "do": "answer", "status": 429, "headers": {"Retry-After": "1"}},
    {
        "on": "submit",
        "share": 0.02,
        "do": "answer",
        "status": 503,
        "json": {"error": {"code": "rate_limit_unavailable"}},
    },
    {"on": "submit", "share": 0.01, "do": "answer", "status": 503, "text": "upstream reset"},
    {"on": "submit", "share": 0.03, "do": "drop", "accept": True},
    {"on": "submit", "share": 0.01, "do": "drop"},
    {"on": "submit", "share": 0.02, "do": "answer", "accept": True, "status": 502, "text": "<html>502</html>"},
    {"on": "submit", "share": 0.01, "do": "mangle", "by": "half"},
    {"on": "submit", "share": 0.01, "do": "mangle", "by": "then an error"},
    {"on": "submit", "share": 0.002, "do": "answer", "status": 402, "json": {"error": {"code": "insufficient_quota"}}},
    {"on": "poll", "share": 0.03, "do": "answer", "status": 500, "json": {"error": {"code": "internal_error"}}},
    {"on": "poll", "share": 0.02, "do": "drop"},
    {"on": "poll", "share": 0.02, "do": "mangle", "by": "html"},
    {"on": "poll", "share": 0.01, "do": "delay", "seconds": 0.3},
    {"on": "download", "share": 0.05, "do": "cut"},
    {"on": "download", "share": 0.03, "do": "answer", "status": 503},
    {"on": "balance", "share": 0.03, "do": "answer", "status": 500, "text": "x"},
)
"""A provider on a bad day: what goes wrong, and how often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A life to be lived; the same case meets the same troubles, as far as chance is ours."""

    name: str
    seed: int
    jobs: int = 60
    strikes: int = 10
    provider: str = "independent"
    chaotic: bool = False
    faults: tuple[dict[str, Any], ...] = ()
    """That the independent server makes besides."""
    purchases: str = "kept"
    stored_after: float = 0.0
    cap: int = 0
    """Clips that the budget allows at first; 0 without a budget."""
    paid: int = 0
    """Clips that the account pays for at first; 0 without end."""
    spoilt_by: str = ""
    """A deliberately broken runner of `broken.py`."""
    options: tuple[str, ...] = ()
    """Of the command line of every run."""
    detail: str = ""
    """What the trouble is made of, where the name does not say it."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a life came to."""

    case: Case
    runs: int = 0
    strikes: int = 0
    """Runs that trouble struck before they ended."""
    jobs: int = 0
    left: list[str] = field(default_factory=list)
    """What was said of each job that is in doubt at the end."""
    worst: int = 0
    """The most submissions that one crash left unanswered."""
    phases: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, *invariants: str) -> int:
        """Violations of these invariants."""
        return sum(one.invariant.split()[0] in invariants for one in self.violations)


class Trouble(Protocol):
    """Strikes one run; the name of the phase that it struck in, or "" when the run was over before."""

    def __call__(self, life: Life, child: Child) -> str: ...


class Life:
    """The folder, the provider and the runs of one case."""

    def __init__(
        self, case: Case, folder: Path, shop: providers.Shop, *, jobs: list[dict[str, Any]] | None = None
    ) -> None:
        self.case, self.folder, self.shop = case, folder, shop
        self.chance = random.Random(f"{case.name} {case.seed}")
        self.cwd, self.home, self.tmp = (folder / name for name in ("work", "home", "tmp"))
        for path in (self.cwd, self.home, self.tmp):
            path.mkdir()
        self.frames = folder / "work" / "frames"
        self.jobs = jobs or prompts.jobs(case.jobs)
        self.jobs[0]["id"] = "taken"
        self.outgrown: list[str] = []
        self.cap, self.paid = case.cap, case.paid
        self.is_shut = False
        """Whether the provider takes nothing in this run."""
        self.is_judged = True
        """Whether the words of this run count: what struck it may be nothing that ever happens."""
        self.tally = Tally(case=case, jobs=len(self.jobs))
        self.patience = launch.PATIENCE
        self.exact = True
        """Whether clips must be byte for byte what was sold."""
        self.stopped = False
        """Whether runs wait for strace before they begin."""
        self.write_manifest()
        self.clips = self.cwd / "out" / "chaos"
        self.foreign = self._plant()
        self.database = self.cwd / ".batchrunner" / "batchrunner.db"
        self.said: list[Said] = []
        self._jobs_before = 0
        self._before = Traffic()

    def write_manifest(self) -> None:
        room = (
            SLOTS * self.case.strikes + 12 if self.case.strikes else len(self.jobs)
        )  # what is in doubt keeps its place in flight
        document: dict[str, Any] = {
            "version": 1,
            "name": "chaos",
            "limits": {**FAST, "max_in_flight": room},
            "jobs": [{**job, "prompt": job["prompt"].replace("{", "{{").replace("}", "}}")} for job in self.jobs],
        }
        if self.cap:
            document["prices"] = {"currency": "CREDITS", "per_request": {"720P": CREDITS}}
            document["budget"] = {"max_cost": self.cap * CREDITS}
        (self.cwd / "batch.yaml").write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), "utf-8")

    def grow(self) -> None:
        """The user wants more, may spend more, and runs the same command again."""
        self.may_spend(GROWTH)
        self.outgrown = [job["prompt"] for job in self.jobs]
        self.jobs += prompts.jobs(len(self.jobs) + GROWTH)[len(self.jobs) :]
        self.tally.jobs = len(self.jobs)
        self.write_manifest()

    def may_spend(self, clips: int) -> None:
        """The cap is raised, the account topped up, for so many clips more."""
        if self.cap:
            self.cap += clips
            self.write_manifest()
        if self.paid:
            self.paid += clips
            self.shop.top_up(self.paid * CREDITS)

    def begins_outage(self) -> None:
        """From here on nothing is sold in this run."""
        self._before, self.is_shut = Traffic.of(self.shop), True

    def _plant(self) -> dict[Path, bytes]:
        """Files of the user's among the clips."""
        self.clips.mkdir(parents=True)
        foreign = {self.clips / "holiday.mp4": b"not a clip of ours", self.clips / "taken.mp4": b"here before"}
        for path, content in foreign.items():
            path.write_bytes(content)
        return foreign

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "LANG": "C.UTF-8",
            "TOAPIS_API_KEY": KEY,
            "TOAPIS_BASE_URL": self.shop.url,
        }

    @property
    def words(self) -> list[str]:
        return ["run", "batch.yaml", "--yes", "--progress", "plain", *self.case.options]

    def start(self) -> Child:
        """Begin a run."""
        from . import broken

        self.tally.runs += 1
        self._before, self.is_shut, self.is_judged = Traffic.of(self.shop), False, True
        patch = broken.RUNNERS[self.case.spoilt_by].spoil if self.case.spoilt_by else lambda: None
        out = self.folder / f"said-{self.tally.runs:03}"
        before = (patch, tracing.stop_here) if self.stopped else (patch,)
        return launch.start(self.words, cwd=self.cwd, env=self.env, out=out, before=before)

    def evidence(self) -> Evidence:
        """What is known now."""
        requests = self.shop.requests()
        return Evidence(
            folder=self.cwd,
            database=self.database,
            clips=self.clips,
            prompts=[job["prompt"] for job in self.jobs],
            outgrown=self.outgrown,
            sales=self.shop.sales(),
            bodies=[line["body_sha256"] for line in requests if line["kind"] == "submit"],
            clip_of=self.shop.clip_of if self.exact else None,
            said=self.said[-1:],
            elsewhere=(self.home, self.tmp),
            foreign=self.foreign,
            secrets=providers.SECRETS,
            slots=SLOTS,
            most_submitting=self.shop.most_submitting(),
            jobs_before=self._jobs_before,
            cap=self.cap,
            is_short=bool(self.paid),
            is_shut=self.is_shut,
            run=Traffic.of(self.shop) - self._before,
        )

    def struck(self, trouble: Trouble, *, stopped: bool = False) -> bool:
        """One run that trouble strikes, and what the checker says to it; whether it was struck before it was over."""
        self.stopped = stopped
        child = self.start()
        self.stopped = False
        try:
            phase = trouble(self, child)
        finally:
            child.kill()
        code = child.code if child.code is not None and child.code >= 0 else None
        self.said.append(Said(child.text, code) if self.is_judged else Said(""))
        if not self.is_judged:
            for crash in self.database.parent.glob("crash-*.txt"):
                crash.unlink()
        self.tally.strikes += bool(phase)
        self.tally.phases[phase or "over"] += 1
        evidence = self.evidence()
        self._found(checker.check(evidence))
        self.tally.worst = max(self.tally.worst, sum(job["state"] == "submitting" for job in evidence.jobs))
        self._jobs_before = len(evidence.jobs)
        return bool(phase)

    def end(self) -> None:
        """Undisturbed runs until all is settled, or held for a person; then once more, which must buy nothing."""
        held = 0
        self.may_spend(PLENTY)
        for _ in range(RUNS_TO_THE_END):
            said = self.undisturbed()
            held += said.code == 11
            if said.code in (0, 3) or held == RUNS_FOR_A_DOUBT or self.tally.violations:
                break
        else:
            self._found([Violation(COMES_TO_AN_END, f"exit code {said.code}: {said.text[-300:]}")])
        self.tally.left = [
            f"{job['key']}: {job['message']}" for job in self.evidence().jobs if job["state"] == "in_doubt"
        ]
        if self.tally.left or self.tally.violations:  # another run may yet settle it, and send it again
            return
        bought = len(self.shop.sales()), self._posts()
        again = self.undisturbed()
        if (len(self.shop.sales()), self._posts()) != bought or again.code != said.code:
            self._found([Violation(COMES_TO_AN_END, f"run again: {again.text[-300:]}")])

    def _posts(self) -> int:
        return sum(line["kind"] == "submit" for line in self.shop.requests())

    def undisturbed(self) -> Said:
        """One run to its end."""
        said = self.start().wait(self.patience)
        self.said.append(said)
        self._found(checker.check_ended(self.evidence()))
        return said

    def _found(self, violations: list[Violation]) -> None:
        self.tally.violations += violations


def phase_of(life: Life, seen: int) -> str:
    """What a run was about when it was struck: by the provider's log, else by the rows."""
    requests = life.shop.requests()[seen:]
    states = Counter(job["state"] for job in life.evidence().jobs)
    if states["submitting"]:
        return "submitting"
    if requests:
        return str(requests[-1]["kind"])
    return "starting" if life.shop.traffic() or not states else max(states, key=lambda state: states[state])


def lived(case: Case, trouble: Trouble, *, stopped: bool = False) -> Tally:
    """Live a case in a folder that is thrown away."""
    began = time.monotonic()
    launch.preload()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        life = Life(case, folder, stack.enter_context(_provider(case, folder)))
        if case.chaotic:  # what is refused for now is tried again after seconds, and longer each time
            life.patience = 3 * launch.PATIENCE
        try:
            for _ in range(1 if case.strikes == 1 else 3 * case.strikes):
                was_struck = life.struck(trouble, stopped=stopped)
                if life.tally.violations or life.tally.strikes == case.strikes:
                    break
                if not was_struck:
                    life.grow()
            if not life.tally.violations:
                life.end()
        except Hang as hang:
            unfinished = [f"{job['key']} {job['state']}" for job in life.evidence().jobs if job["state"] != "done"]
            life.tally.violations.append(Violation(COMES_TO_AN_END, f"{unfinished} {hang}"))
        life.tally.seconds = time.monotonic() - began
        return life.tally


def _provider(case: Case, folder: Path) -> Any:
    if case.provider == "emulator":
        return providers.emulated(folder / "provider")
    clips = Path(tempfile.gettempdir()) / "batchrunner-chaos-clips"
    clips.mkdir(exist_ok=True)
    faults = (*case.faults, *(CHANCES if case.chaotic else ()))
    options: dict[str, Any] = {"seed": case.seed, "purchases": case.purchases, "stored_after": case.stored_after}
    if case.paid:
        options["credits"] = case.paid * CREDITS
    return providers.independent(folder / "provider", clips, faults=faults, **options)


def until(happened: Callable[[], bool], seconds: float) -> Iterator[None]:
    """Yield until something happened, or time is over."""
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        yield
        time.sleep(0.002)
