"""Scenarios: faults with probabilities, by name or from a file, in one shape; what is wrong in a file is said with what could be.

seed: 7              of the faults and of the service times; a command line's --seed goes above it
faults:
  - {name: accepted_then_dies, probability: 0.1}
  - {name: http_503, stage: poll, first: 20}    the first 20 polls
  - {name: unauthorized, after: 30}             from the 31st request on
  - {name: outage, from: 60, to: 3660}          in these seconds of the emulator's time
  - {name: task_content_policy, match: 猫}      only tasks whose prompt holds this
parallel: 5          tasks that may run at once; more are refused with Kling's 1303
credits: 2000        what the account holds; null is a key without a limit
group: vip           whose rate limits hold
rate_limits: false   none hold
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from batchrunner.emulator.faults import FAULTS, Fault, Stage, Value
from batchrunner.emulator.limits import GROUPS
from batchrunner.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One fault of a scenario: how often, where and when."""

    fault: Fault
    number: int = 0
    """The how-manieth of its name: two rules of one fault draw on their own."""
    probability: float = 1.0
    on: tuple[Stage, ...]
    after: int = 0
    """So many requests go by first."""
    first: int | None = None
    """Only so many requests are in danger from then on."""
    begin: float = 0.0
    """Seconds of the emulator's time since the scenario's first request."""
    end: float = math.inf
    match: str = ""
    parameters: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that can be set while the emulator runs; None leaves a thing as it is."""

    scenario: str | None = None
    seed: int | None = None
    rules: tuple[Rule, ...] | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    """`parallel`, `credits`, `group`, `rate_limits`, as far as they were given."""

    def with_limits(self, limits: Mapping[str, Any]) -> Config:
        """The same with other limits, as a command line gives them."""
        return replace(self, limits={**self.limits, **limits})

    def with_seed(self, seed: int | None) -> Config:
        """The same with the seed that a command line gives, if it gives one."""
        return self if seed is None else replace(self, seed=seed)


SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "happy": {},
    "flaky": {
        "faults": [
            {"name": "too_many_requests", "probability": 0.08},
            {"name": "limiter_down", "probability": 0.04},
            {"name": "http_503", "stage": "poll", "probability": 0.05},
            {"name": "dies", "stage": "poll", "probability": 0.03},
            {"name": "http_502", "stage": "upload", "probability": 0.15},
            {"name": "task_404", "probability": 0.2, "seconds": 20},
            {"name": "file_cut", "probability": 0.1},
            {"name": "http_503", "stage": "download", "probability": 0.05},
        ]
    },
    "slow": {
        "faults": [
            {"name": "slow", "probability": 0.5, "seconds": 90},
            {"name": "slow", "stage": "poll", "probability": 0.1, "seconds": 20},
            {"name": "task_slow", "probability": 0.4, "factor": 4},
            {"name": "file_stalls", "probability": 0.15},
        ]
    },
    "policy": {
        "faults": [
            {"name": "content_policy", "probability": 0.1},
            {"name": "kling_1301", "probability": 0.05},
            {"name": "task_content_policy", "probability": 0.12},
            {"name": "task_failed_silently", "probability": 0.05},
        ]
    },
    "capacity": {
        "parallel": 5,
        "faults": [{"name": "kling_1303", "probability": 0.05}, {"name": "task_1303", "probability": 0.1}],
    },
    "quota": {"faults": [{"name": "quota_402", "after": 6, "first": 3}]},
    "expired": {
        "faults": [
            {"name": "expired_url", "probability": 0.15},
            {"name": "url_dead_at_first", "probability": 0.3},
            {"name": "no_url", "probability": 0.2, "seconds": 60},
        ]
    },
    "outage": {"faults": [{"name": "outage", "from": 60, "to": 3660}]},
    "chaos": {
        "faults": [
            *({"name": name, "probability": 0.02} for name in ("too_many_requests", "too_many_requests_unsaid")),
            *(
                {"name": name, "probability": 0.02}
                for name in ("too_many_requests_empty", "limiter_down", "no_channel")
            ),
            *({"name": name, "probability": 0.02} for name in ("accepted_then_dies", "accepted_then_504", "http_502")),
            *(
                {"name": name, "probability": 0.01}
                for name in ("accepted_then_cut", "error_behind_success", "without_id")
            ),
            *({"name": name, "probability": 0.01} for name in ("garbage", "accepted_then_500", "content_policy")),
            {"name": "slow", "probability": 0.05},
            *(
                {"name": name, "stage": "poll", "probability": 0.02}
                for name in ("http_503", "http_524", "dies", "garbage")
            ),
            *({"name": name, "stage": "upload", "probability": 0.1} for name in ("http_502", "success_false")),
            *({"name": name, "probability": 0.04} for name in ("task_failed", "task_1303", "task_content_policy")),
            *({"name": name, "probability": 0.02} for name in ("task_failed_silently", "expired_url")),
            *(
                {"name": name, "probability": 0.06}
                for name in ("status_unknown", "status_uppercase", "status_backwards")
            ),
            *({"name": name, "probability": 0.06} for name in ("task_404", "client_id_late", "task_slow", "no_url")),
            *(
                {"name": name, "probability": 0.04}
                for name in ("file_cut", "file_truncated", "file_html", "file_stalls")
            ),
            *({"name": name, "probability": 0.03} for name in ("file_wrong_length", "file_wrong_clip")),
        ]
    },
}
"""`POST /__config` takes the same shape."""

_SETTINGS = ("scenario", "seed", "faults", "parallel", "credits", "group", "rate_limits")
_WHEN = ("name", "probability", "stage", "after", "first", "from", "to", "match")


def named(name: str) -> Config:
    """A scenario of ours; `UsageError` with the names there are."""
    if name not in SCENARIOS:
        raise UsageError(f"there is no scenario {name!r}", fix=f"scenarios: {', '.join(SCENARIOS)}")
    return read({"scenario": name}, "the scenario")


def load(path: Path) -> Config:
    """The scenario that a YAML or JSON file describes; `UsageError` for what is wrong in it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", fix="name a YAML or JSON file") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{path} is no YAML or JSON: {' '.join(str(error).split())}", fix=_FIX) from error
    return read(content, str(path))


def scenario_of(text: str) -> Config:
    """A scenario by its name, or by the path of its file."""
    path = Path(text)
    return load(path) if text not in SCENARIOS and (path.suffix in (".yaml", ".yml", ".json")) else named(text)


def read(content: Any, where: str) -> Config:
    """A configuration from its JSON; `UsageError` names the place, and what could stand there."""
    if not isinstance(content, dict):
        raise UsageError(f"{where}: a scenario is an object with `faults`", fix=_FIX)
    _known(content, _SETTINGS, where)
    name = content.get("scenario")
    if name is not None and (not isinstance(name, str) or name not in SCENARIOS):
        raise UsageError(f"{where}: there is no scenario {name!r}", fix=f"scenarios: {', '.join(SCENARIOS)}")
    whole: dict[str, Any] = {**SCENARIOS[name], **content} if name is not None else content
    wanted = content.get("faults", [])
    if not isinstance(wanted, list):
        raise UsageError(f"{where}: faults must be a list", fix=_FIX)
    rules: tuple[Rule, ...] | None = None
    if name is not None or "faults" in content:
        rules = _rules([*(SCENARIOS[name].get("faults", []) if name else []), *wanted], where)
    seed = whole.get("seed")
    if seed is not None and type(seed) is not int:
        raise UsageError(f"{where}: seed must be a whole number", fix=_FIX)
    limits = {key: _LIMITS[key](whole[key], where) for key in _LIMITS if key in whole}
    if name is not None:
        limits = {"parallel": None} | limits
    return Config(scenario=name or ("faults" if rules else None), seed=seed, rules=rules, limits=limits)


def _rules(wanted: Iterable[Any], where: str) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for place, one in enumerate(wanted, start=1):
        rule = _rule(one, f"{where}: fault {place}", [known.fault.name for known in rules])
        rules.append(rule)
    return tuple(rules)


def _rule(one: Any, where: str, before: list[str]) -> Rule:
    one = {"name": one} if isinstance(one, str) else one
    if not isinstance(one, dict) or not isinstance(one.get("name"), str):
        raise UsageError(f"{where} must be an object with a name", fix=_FIX)
    fault = FAULTS.get(one["name"])
    if fault is None:
        close = difflib.get_close_matches(one["name"], FAULTS, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"{where}: there is no fault {one['name']!r}", fix=f"{meant}faults: {', '.join(FAULTS)}")
    where = f"{where} ({fault.name})"
    _known(one, (*_WHEN, *fault.parameters), where)
    match = one.get("match", "")
    if not isinstance(match, str):
        raise UsageError(f"{where}: match must be a text", fix=_FIX)
    return Rule(
        fault=fault,
        number=before.count(fault.name),
        probability=_number(one, "probability", 1.0, where, top=1.0),
        on=_stages(one, fault, where),
        after=int(_number(one, "after", 0, where)),
        first=int(_number(one, "first", 0, where)) if "first" in one else None,
        begin=_number(one, "from", 0.0, where),
        end=_number(one, "to", math.inf, where),
        match=match,
        parameters={name: _parameter(one, name, default, where) for name, default in fault.parameters.items()},
    )


def _stages(one: Mapping[str, Any], fault: Fault, where: str) -> tuple[Stage, ...]:
    if "stage" not in one:
        return fault.stages if fault.everywhere else fault.stages[:1]
    words = one["stage"] if isinstance(one["stage"], list) else [one["stage"]]
    for word in words:
        if word not in list(fault.stages):
            raise UsageError(f"{where}: it cannot strike on {word!r}", fix=f"stage: {', '.join(fault.stages)}")
    return tuple(Stage(word) for word in words)


def _parameter(one: Mapping[str, Any], name: str, default: Value, where: str) -> Value:
    value: Any = one.get(name, default)
    if name == "retry_after" and isinstance(value, str):  # as it is written: a date, or nonsense
        return value
    if isinstance(default, bool):
        return _bool(value, name, where)
    return _number({name: value}, name, 0.0, where)


def _number(one: Mapping[str, Any], name: str, default: float, where: str, *, top: float = math.inf) -> float:
    value = one.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= top:
        between = f"from 0 to {top:g}" if top < math.inf else "of 0 or more"
        raise UsageError(f"{where}: {name} must be a number {between}, not {value!r}", fix=_FIX)
    return value


def _known(given: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
    for key in given:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}", fix=f"keys: {', '.join(known)}")


def _count(name: str) -> Callable[[Any, str], int | None]:
    def check(value: Any, where: str) -> int | None:
        if value is not None and (type(value) is not int or value < 0):
            raise UsageError(f"{where}: {name} must be a whole number, or null for no limit", fix=_FIX)
        return value

    return check


def _group(value: Any, where: str) -> str:
    if not isinstance(value, str) or value not in GROUPS:
        raise UsageError(f"{where}: there is no group {value!r}", fix=f"groups: {', '.join(GROUPS)}")
    return value


def _bool(value: Any, name: str, where: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{where}: {name} must be true or false", fix=_FIX)
    return value


def _switch(value: Any, where: str) -> bool:
    return _bool(value, "rate_limits", where)


_LIMITS: Mapping[str, Callable[[Any, str], Any]] = {
    "parallel": _count("parallel"),
    "credits": _count("credits"),
    "group": _group,
    "rate_limits": _switch,
}
_FIX = "for example: {seed: 7, faults: [{name: accepted_then_dies, probability: 0.1}, {name: http_503, first: 20}]}"
