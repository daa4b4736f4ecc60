"""What was compared with a manifest, in SQL: the numbers, the jobs one by one, and what a run would send of them.

The comparison lies in the temporary tables of `staging`; or it is with the manifest that was adopted last, and then the
stored jobs are all that is wanted.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from batchrunner import plan
from batchrunner import request as requests
from batchrunner.model import Frame
from batchrunner.states import JobState
from batchrunner.store.comparison import SAMPLE, Comparison, Planned, Purchases, Verdict
from batchrunner.store.queries import KIND, PAGE, SELECTED, Questions, selection
from batchrunner.store.rows import read

_COUNTED = """
    SELECT (SELECT count(*) FROM staged) - count(*) + coalesce(sum(replaces OR state = 'pending'), 0)
            + (SELECT count(*) FROM again WHERE NOT fresh) AS to_send,
        (SELECT count(*) FROM again) AS again,
        count(*) FILTER (WHERE state = 'done' AND NOT differs) AS done,
        count(*) FILTER (WHERE state = 'failed' AND NOT differs AND rank NOT IN (SELECT rank FROM again)) AS failed,
        count(*) FILTER (WHERE state = 'cancelled' AND NOT differs) AS cancelled,
        count(*) FILTER (WHERE moved) + (SELECT count(*) FROM again JOIN staged USING (rank) JOIN jobs ON jobs.id = job_id
            WHERE fresh AND jobs.key <> staged.key) AS moved,
        count(*) FILTER (WHERE differs AND NOT replaces) AS changed,
        (SELECT count(*) FROM orphans) AS orphaned
    FROM matches
"""
_CHANGED = f"""
    SELECT staged.key FROM matches JOIN staged USING (rank) WHERE differs AND NOT replaces
    ORDER BY rank LIMIT {SAMPLE}
"""
_STAGED_TO_SEND = f"""
    SELECT billing_key, seconds, request, rank IN (SELECT rank FROM again) AS again FROM staged LEFT JOIN matches USING (rank)
    WHERE (matches.job_id IS NULL OR replaces OR state = 'pending' OR rank IN (SELECT rank FROM again))
        AND {SELECTED} ORDER BY rank LIMIT ?
"""
_STORED_TO_SEND = f"""
    SELECT billing_key, seconds, request, 0 AS again FROM jobs
    WHERE batch_id = ? AND wanted = 1 AND state = 'pending' AND {SELECTED} ORDER BY position, id LIMIT ?
"""
_KINDS = f"""
    SELECT billing_key, seconds, {KIND} AS form, count(*) AS clips, sum(again) AS again FROM ({{sent}})
    GROUP BY form
"""
_LOCAL_FRAMES = """
    SELECT json_extract(frame.value, '$.sha256') AS sha256, json_extract(frame.value, '$.source') AS source,
        frame.value AS frame
    FROM ({sent}) AS sent, json_each(sent.request, '$.frames') AS frame
    WHERE json_extract(frame.value, '$.local')
"""
_PLANNED = f"""
    SELECT rank, staged.key, staged.fingerprint, staged.output, staged.request, staged.tags, differs, replaces,
        jobs.state, jobs.key AS old_key, again.job_id IS NOT NULL AS again
    FROM staged LEFT JOIN matches USING (rank) LEFT JOIN again USING (rank)
        LEFT JOIN jobs ON jobs.id = coalesce(matches.job_id, again.job_id)
    WHERE rank > ? AND (? OR matches.job_id IS NULL OR replaces OR matches.state = 'pending' OR again.job_id IS NOT NULL)
    ORDER BY rank LIMIT {PAGE}
"""
_UPLOADS = f"SELECT count(DISTINCT sha256) AS frames FROM ({_LOCAL_FRAMES})"
_OUTGOING = f"""
    CREATE TEMP TABLE outgoing AS SELECT frame, min(source) FROM ({_LOCAL_FRAMES}) GROUP BY sha256 ORDER BY sha256
"""


class Compared(Questions):
    """The questions of the port's planning."""

    _recalled: int | None = None
    """The batch whose stored jobs are all that is wanted; None when they were compared with a manifest's."""

    def recall(self, batch_id: int) -> Comparison:
        self._recalled = batch_id
        wanted, states = dict.fromkeys(JobState, 0), self._states(batch_id)
        wanted |= self.counts(batch_id)
        return Comparison(
            to_send=wanted[JobState.PENDING],
            again=0,
            done=wanted[JobState.DONE],
            failed=wanted[JobState.FAILED],
            cancelled=wanted[JobState.CANCELLED],
            changed=0,
            changed_keys=(),
            moved=0,
            orphaned=0,
            collecting=states[JobState.RUNNING] + states[JobState.FETCHING],
            in_doubt=states[JobState.IN_DOUBT] + states[JobState.SUBMITTING],
        )

    def planned(self, *, to_send: bool = False) -> Iterator[Planned]:
        if self._recalled is not None:
            states = (JobState.PENDING,) if to_send else tuple(JobState)
            columns = "key, fingerprint, output, state, request, tags, position, id"
            rows = self._in_order(columns, self._recalled, states, (1,))
            yield from (
                read(Planned, row, verdict=plan.VERDICTS[JobState(row["state"])], moved_from=None) for row in rows
            )
            return
        last = 0
        while page := self._rows(_PLANNED, (last, not to_send)):
            yield from map(_to_planned, page)
            last = page[-1]["rank"]
        if to_send:
            return
        sql = """
            SELECT key, fingerprint, output, state FROM jobs WHERE id IN (SELECT id FROM orphans) ORDER BY position, id
        """
        for row in self._rows(sql):
            yield Planned(
                verdict=Verdict.ORPHANED,
                key=row["key"],
                fingerprint=row["fingerprint"],
                output=row["output"],
                state=JobState(row["state"]),
            )

    def outgoing(
        self, *, only: str | None = None, tags: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Frame]:
        with self.transaction():
            self._run("DROP TABLE IF EXISTS temp.outgoing")
            sent, parameters = self._to_send(only, tags, limit)
            self._run(_OUTGOING.format(sent=sent), parameters)
        last, sql = 0, f"SELECT rowid, frame FROM temp.outgoing WHERE rowid > ? ORDER BY rowid LIMIT {PAGE}"
        while page := self._rows(sql, (last,)):
            for row in page:
                yield requests.to_frame(json.loads(row["frame"]))
            last = page[-1]["rowid"]

    def purchases(self, *, only: str | None = None, tags: Sequence[str] = (), limit: int | None = None) -> Purchases:
        sent, parameters = self._to_send(only, tags, limit)
        uploads = self._row(_UPLOADS.format(sent=sent), parameters)
        kinds: Counter[tuple[str, int]] = Counter()
        again: Counter[tuple[str, int]] = Counter()
        forms: dict[str, int] = {}
        for row in self._rows(_KINDS.format(sent=sent), parameters):
            kinds[row["billing_key"], row["seconds"]] += row["clips"]
            again[row["billing_key"], row["seconds"]] += row["again"]
            forms[row["form"]] = row["clips"]
        return Purchases(kinds=kinds, uploads=uploads["frames"] if uploads else 0, again=+again, forms=forms)

    def _to_send(self, only: str | None, tags: Sequence[str], limit: int | None) -> tuple[str, tuple[Any, ...]]:
        """What would be sent, as SQL and its parameters."""
        chosen = (*selection(only, tags), -1 if limit is None else limit)
        if self._recalled is None:
            return _STAGED_TO_SEND, chosen
        return _STORED_TO_SEND, (self._recalled, *chosen)

    def _compared(self, batch_id: int) -> Comparison:
        states = self._states(batch_id)
        return Comparison(
            **dict(self._rows(_COUNTED)[0]),
            collecting=states[JobState.RUNNING] + states[JobState.FETCHING],
            in_doubt=states[JobState.IN_DOUBT] + states[JobState.SUBMITTING],
            changed_keys=tuple(row["key"] for row in self._rows(_CHANGED)),
        )

    def _states(self, batch_id: int) -> dict[JobState, int]:
        """Jobs by state, wanted or not."""
        states = dict.fromkeys(JobState, 0)
        for row in self._rows("SELECT state, jobs FROM job_counts WHERE batch_id = ?", (batch_id,)):
            states[JobState(row["state"])] += row["jobs"]
        return states


def _to_planned(row: sqlite3.Row) -> Planned:
    state = None if row["state"] is None else JobState(row["state"])
    if row["again"]:
        verdict = Verdict.AGAIN
    elif state is None or row["replaces"]:
        verdict = Verdict.NEW
    else:
        verdict = Verdict.CHANGED if row["differs"] else plan.VERDICTS[state]
    return Planned(
        verdict=verdict,
        key=row["key"],
        fingerprint=row["fingerprint"],
        output=row["output"],
        state=state,
        moved_from=row["old_key"] if row["old_key"] != row["key"] else None,
        request=requests.from_json(row["request"]),
        tags=tuple(json.loads(row["tags"])),
    )
