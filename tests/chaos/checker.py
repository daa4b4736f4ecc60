"""The invariants of the reliability notes §3, as far as they can be seen from outside, after any fault.

Each is a function of the evidence that yields what is wrong. `check` is for any moment, also right after a kill;
`check_ended` is for a batch whose last process ended by itself.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from batchrunner.states import TRANSITIONS, JobState

from .evidence import Evidence, Row

UNKNOWN = ("submitting", "in_doubt")
BOUGHT = ("running", "fetching", "done")
NEW_MONEY = ("retried", "task_failed", "vanished", "expired", "bad_file")
"""Events after which another purchase is a wish and no mistake."""
PERSON = ("person", "operator", "resend", "on_doubt", "by hand", "retry", "note")
"""Words of a verdict that somebody takes upon themselves."""


class Violation(NamedTuple):
    """A broken promise."""

    invariant: str
    text: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}"


Rule = Callable[[Evidence], Iterator[str]]
ALWAYS: dict[str, Rule] = {}
AT_THE_END: dict[str, Rule] = {}


def _rule(name: str, rules: dict[str, Rule] = ALWAYS) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        rules[name] = rule
        return rule

    return add


def check(evidence: Evidence) -> list[Violation]:
    """What no crash excuses."""
    return [Violation(name, text) for name, rule in ALWAYS.items() for text in rule(evidence)]


def check_words(evidence: Evidence) -> list[Violation]:
    """What holds although the database cannot be read."""
    return [
        Violation(name, text) for name, rule in ALWAYS.items() if name[:3] in ("I19", "I20") for text in rule(evidence)
    ]


def check_ended(evidence: Evidence) -> list[Violation]:
    """That, and what holds once a process has ended by itself."""
    ended = [Violation(name, text) for name, rule in AT_THE_END.items() for text in rule(evidence)]
    return check(evidence) + ended


@_rule("I1 one job for each row of the manifest")
def _jobs_are_the_manifest(evidence: Evidence) -> Iterator[str]:
    prompts = Counter(job["prompt"] for job in evidence.jobs if job["wanted"])
    old = not _ended_well(evidence) and prompts == Counter(evidence.outgrown)
    if prompts and not old and prompts != Counter(evidence.prompts):
        difference = (prompts - Counter(evidence.prompts)) + (Counter(evidence.prompts) - prompts)
        yield f"{difference.total()} jobs differ from the manifest: {next(iter(difference))[:40]!r} …"
    if len(evidence.jobs) < evidence.jobs_before:
        yield f"{evidence.jobs_before} jobs have become {len(evidence.jobs)}"


def _ended_with(evidence: Evidence, *codes: int) -> bool:
    return evidence.last is not None and evidence.last.code in codes


def _ended_well(evidence: Evidence) -> bool:
    return _ended_with(evidence, 0, 3, 11)


@_rule("I2 nothing is bought twice")
def _bought_once(evidence: Evidence) -> Iterator[str]:
    allowed: Counter[int] = Counter()
    for event in evidence.events:
        allowed[event["job_id"]] += event["event"] in NEW_MONEY or _is_risk(event)
    for purchase, count in Counter(sale.purchase_id for sale in evidence.sales).items():
        job = evidence.by_purchase.get(purchase)
        if count > 1 + (allowed[job["id"]] if job else 0):
            yield f"purchase {purchase} was sold {count} times"
    owners = Counter(job["id"] for sale in evidence.sales if (job := evidence.by_purchase.get(sale.purchase_id)))
    for job_id, count in owners.items():
        if count > 1 + allowed[job_id]:
            yield f"job {job_id} was bought {count} times"


def _is_risk(event: Row) -> bool:
    """Whether somebody took it upon themselves that this may buy twice."""
    return event["event"] == "absent" and any(word in (event["note"] or "") for word in PERSON)


@_rule("I3 nothing that was sold is forgotten")
def _sales_are_known(evidence: Evidence) -> Iterator[str]:
    given_up = {event["job_id"] for event in evidence.events if event["event"] in (*NEW_MONEY, "abandoned")}
    for sale in evidence.sales:
        job = evidence.by_purchase.get(sale.purchase_id)
        if job is None:
            yield f"nobody remembers the purchase {sale.purchase_id}"
        elif job["prompt"] != sale.prompt:
            yield f"purchase {sale.purchase_id} was sold with the prompt of another job than {job['key']}"
        elif job["task_id"] != sale.task_id and job["state"] not in UNKNOWN and job["id"] not in given_up:
            yield f"job {job['key']} is {job['state']} and does not know its task {sale.task_id}"


@_rule("I4 what is not bought was not sold")
def _unsold(evidence: Evidence) -> Iterator[str]:
    risked = {event["job_id"] for event in evidence.events if _is_risk(event)}
    sold = {sale.purchase_id for sale in evidence.sales}
    for job in evidence.jobs:
        refused = job["state"] == "failed" and job["task_id"] is None and job["reason"] not in ("abandoned", "vanished")
        if (job["state"] == "pending" or refused) and job["purchase_id"] in sold and job["id"] not in risked:
            yield f"job {job['key']} is {job['state']}, but its purchase {job['purchase_id']} was sold"


@_rule("I5 tasks belong to one job, and were sold to it")
def _tasks_belong(evidence: Evidence) -> Iterator[str]:
    known = {sale.task_id: sale for sale in evidence.sales}
    owners = Counter(job["task_id"] for job in evidence.jobs if job["task_id"])
    for task, count in owners.items():
        if count > 1:
            yield f"{count} jobs share the task {task}"
    for job in evidence.jobs:
        task = job["task_id"]
        if task is not None and task not in known:
            yield f"job {job['key']} has the task {task}, which was never sold"
        elif task is not None and known[task].prompt != job["prompt"]:
            yield f"job {job['key']} has the task {task} of another job"
        elif task is None and job["state"] in BOUGHT:
            yield f"job {job['key']} is {job['state']} without a task"


@_rule("I6 every body that arrived was intended")
def _bodies_were_intended(evidence: Evidence) -> Iterator[str]:
    intended = Counter(attempt["body_sha256"] for attempt in evidence.attempts)
    for body, count in Counter(evidence.bodies).items():
        if count > intended[body]:
            yield f"the body {body[:12]}… arrived {count} times and was intended {intended[body]} times"
    pairs = {(attempt["purchase_id"], attempt["body_sha256"]) for attempt in evidence.attempts}
    for sale in evidence.sales:
        if sale.body_sha256 and (sale.purchase_id, sale.body_sha256) not in pairs:
            yield f"what was sold as {sale.purchase_id} is not what was intended"


@_rule("I7 one crash leaves no more in doubt than there are slots")
def _doubt_is_bounded(evidence: Evidence) -> Iterator[str]:
    left = sum(job["state"] == "submitting" for job in evidence.jobs)
    if left > evidence.slots:
        yield f"{left} submissions are unanswered, and there are {evidence.slots} slots"


@_rule("I8 doubt ends with evidence")
def _doubt_ends_with_evidence(evidence: Evidence) -> Iterator[str]:
    for event in evidence.events:
        if event["from_state"] == "in_doubt" and event["to_state"] == "pending" and not event["note"]:
            yield f"job {event['job_id']} left in doubt for pending, and nothing says why"


@_rule("I9 a clip that is done is the one that was sold")
def _clips_are_true(evidence: Evidence) -> Iterator[str]:
    for job in evidence.jobs:
        if job["state"] != "done":
            continue
        path = Path(job["clip_path"])
        if not path.is_file():
            yield f"job {job['key']} is done and has no file"
            continue
        content = path.read_bytes()
        if len(content) != job["clip_bytes"] or hashlib.sha256(content).hexdigest() != job["clip_sha256"]:
            yield f"{path.name} is not the file that was recorded"
        elif evidence.clip_of is not None and content != evidence.clip_of(job["task_id"]):
            yield f"{path.name} is not the clip of its task {job['task_id']}"
        elif not {b"moov", b"mdat"} <= set(_boxes(content)):
            yield f"{path.name} is no whole mp4"


def _boxes(content: bytes) -> Iterator[bytes]:
    at = 0
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        if size < 8 or at + size > len(content):
            return
        yield content[at + 4 : at + 8]
        at += size


@_rule("I10 no file has a clip's name unless it is one")
def _names_are_true(evidence: Evidence) -> Iterator[str]:
    done = {Path(job["clip_path"]) for job in evidence.jobs if job["state"] == "done"}
    whole = {hashlib.sha256(evidence.clip_of(sale.task_id)).hexdigest() for sale in _unfetched(evidence)}
    for path in evidence.clips.rglob("*.mp4"):
        mine = path in done or path in evidence.foreign
        if not mine and hashlib.sha256(path.read_bytes()).hexdigest() not in whole and evidence.clip_of is not None:
            yield f"{path.name} has a clip's name and is none"
    for path, content in evidence.foreign.items():
        if not path.is_file() or path.read_bytes() != content:
            yield f"{path.name} was somebody's file, and was touched"


def _unfetched(evidence: Evidence) -> list:
    """What may lie under its name already while the record of it is missing."""
    if evidence.clip_of is None:
        return []
    fetching = {job["task_id"] for job in evidence.jobs if job["state"] == "fetching"}
    return [sale for sale in evidence.sales if sale.task_id in fetching]


@_rule("I11 nothing is written elsewhere")
def _nothing_elsewhere(evidence: Evidence) -> Iterator[str]:
    inside = (evidence.database.parent, evidence.clips, evidence.folder / "frames")
    for path in evidence.folder.rglob("*"):
        ours = path == evidence.folder / "batch.yaml" or any(path.is_relative_to(one) for one in inside)
        if path.is_file() and not ours:
            yield f"{path} was written"
    for folder in evidence.elsewhere:
        for path in folder.rglob("*"):
            if path.is_file():
                yield f"{path} was written"


@_rule("I12 history is made of legal moves")
def _history_is_legal(evidence: Evidence) -> Iterator[str]:
    legal = {
        (state.value, event.value, to.value) for state, moves in TRANSITIONS.items() for event, to in moves.items()
    }
    states = {job["id"]: JobState.PENDING.value for job in evidence.jobs}
    for event in evidence.events:
        move = (event["from_state"], event["event"], event["to_state"])
        if move not in legal or states.get(event["job_id"]) != event["from_state"]:
            yield f"job {event['job_id']} went {' '.join(move)} from {states.get(event['job_id'])}"
        states[event["job_id"]] = event["to_state"]
    for job in evidence.jobs:
        if states[job["id"]] != job["state"]:
            yield f"job {job['key']} is {job['state']}, and its history ends with {states[job['id']]}"


@_rule("I13 no more is under way than allowed")
def _limits_hold(evidence: Evidence) -> Iterator[str]:
    if evidence.most_submitting > evidence.slots:
        yield f"{evidence.most_submitting} submissions at once"


@_rule("I14 nothing is bought that a cap or a closed door forbids")
def _forbidden(evidence: Evidence) -> Iterator[str]:
    if evidence.cap and len(evidence.sales) > evidence.cap:
        yield f"{len(evidence.sales)} clips were bought, and the budget allows {evidence.cap}"
    if evidence.is_short and evidence.run.unsold > evidence.slots:
        yield f"{evidence.run.unsold} submissions that the account could not pay, and there are {evidence.slots} slots"
    if evidence.is_shut and evidence.run.unsold > evidence.slots + evidence.run.balances:
        probes = evidence.run.balances
        yield f"{evidence.run.unsold} submissions in an outage: {evidence.slots} slots, {probes} questions whether it is over"


@_rule("I15 what the account lacks fails no job")
def _account_trouble(evidence: Evidence) -> Iterator[str]:
    keys = {job["id"]: job["key"] for job in evidence.jobs}
    for attempt in evidence.attempts:
        if attempt["http_status"] in (401, 402) and attempt["outcome"] != "returned":
            yield f"job {keys[attempt['job_id']]} is {attempt['outcome']} because of HTTP {attempt['http_status']}"
    if _ended_with(evidence, 7):
        sold = {sale.purchase_id for sale in evidence.sales}
        for job in evidence.jobs:
            if job["wanted"] and job["state"] not in ("pending", "in_doubt") and job["purchase_id"] not in sold:
                yield f"job {job['key']} is {job['state']}, and only the account was in the way"


@_rule("I17 the database is whole")
def _database_is_whole(evidence: Evidence) -> Iterator[str]:
    if evidence.jobs and evidence.ask("PRAGMA integrity_check") != [("ok",)]:
        yield "integrity_check fails"
    if evidence.ask("PRAGMA foreign_key_check"):
        yield "foreign_key_check fails"


@_rule("I18 the exit code is the truth", AT_THE_END)
def _exit_code_is_true(evidence: Evidence) -> Iterator[str]:
    code = evidence.last.code if evidence.last else None
    states = Counter(job["state"] for job in evidence.jobs if job["wanted"])
    if code == 0 and set(states) - {"done", "cancelled"}:
        yield f"exit code 0 with {dict(states)}"
    if code == 11 and not any(job["state"] == "in_doubt" for job in evidence.jobs):
        yield "exit code 11 and nothing is in doubt"
    if code == 3 and (not states["failed"] or states["in_doubt"]):
        yield f"exit code 3 with {dict(states)}"
    if states["in_doubt"] and code in (0, 3):
        yield f"exit code {code} hides {states['in_doubt']} in doubt"


@_rule("I19 secrets are kept nowhere")
def _secrets_are_safe(evidence: Evidence) -> Iterator[str]:
    spelt = [spelling for secret in evidence.secrets for spelling in (secret.encode(), secret.encode().hex().encode())]
    for path in evidence.folder.rglob("*"):
        if path.is_file() and path.suffix != ".mp4":
            content = path.read_bytes()
            if any(one in content for one in spelt):
                yield f"{path.name} holds a secret"
    for said in evidence.said:
        if any(secret in said.text for secret in evidence.secrets):
            yield "a secret was printed"


@_rule("I20 no traceback, and every error says what helps")
def _words_are_for_people(evidence: Evidence) -> Iterator[str]:
    for said in evidence.said:
        if "Traceback" in said.text or said.code == 1:
            yield f"a traceback or a bug was shown (exit code {said.code}): {said.text[-300:]!r}"
        for line, following in pairwise([*said.text.splitlines(), ""]):
            if line.startswith("error: ") and "fix:" not in following and "fix:" not in line:
                yield f"no fix for {line!r}"
    for path in evidence.database.parent.glob("crash-*.txt"):
        yield f"a bug: {path.read_text('utf-8')[-400:]}"


@_rule("I10 nothing half done is left", AT_THE_END)
def _no_leftovers(evidence: Evidence) -> Iterator[str]:
    if not _ended_well(evidence):
        return
    done = {Path(job["clip_path"]).stat().st_ino for job in evidence.jobs if job["state"] == "done"}
    for path in evidence.clips.rglob("*"):
        if (
            path.stat().st_ino in done
        ):  # also a second name, which a crash after the record leaves and which costs nothing
            continue
        if path.suffix == ".part" or path.name.startswith(".batchrunner"):
            yield f"{path.name} is left in the folder"


_AUDIT = re.compile(
    r"audit +charged (-?\d+) credits; (\d+) tasks? explains? (-?\d+); unexplained (-?\d+); in doubt (\d+)"
)


@_rule("I22 the audit line is the truth", AT_THE_END)
def _audit_is_true(evidence: Evidence) -> Iterator[str]:
    said = _AUDIT.search(evidence.last.text) if evidence.last else None
    if said is None or not _ended_with(evidence, 0, 3):
        return
    charged, tasks, explained, unexplained, doubts = map(int, said.groups())
    doubtful = any(attempt["outcome"] in ("open", "unanswered") for attempt in evidence.attempts)
    if doubts and not doubtful:
        yield f"{doubts} are said to be in doubt, and none is"
    if not doubtful and (unexplained or charged != explained or tasks > len(evidence.sales)):
        yield f"all that was charged is known, and yet: {said[0]}"


@_rule("I23 one purchase, one id")
def _purchases_are_one(evidence: Evidence) -> Iterator[str]:
    ended: set[tuple[int, str]] = set()
    current: dict[int, str] = {}
    renewed = {event["job_id"] for event in evidence.events if event["event"] == "retried"}
    for attempt in evidence.attempts:
        job, purchase = attempt["job_id"], attempt["purchase_id"]
        if current.get(job, purchase) != purchase and job not in renewed:
            yield f"job {job} was sent with another purchase id than before"
        if (job, purchase) in ended:
            yield f"purchase {purchase} was used again after its end"
        current[job] = purchase
        if attempt["outcome"] in ("task_failed", "vanished"):
            ended.add((job, purchase))
    shared = [one for one, count in Counter(current.values()).items() if count > 1]
    if shared:
        yield f"{len(shared)} purchase ids are shared by jobs"
