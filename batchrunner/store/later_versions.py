"""What was added to the schema since its first version, oldest first; what was released never changes."""

from __future__ import annotations

TAGS = ("ALTER TABLE jobs ADD COLUMN tags TEXT NOT NULL DEFAULT '[]'",)
"""A JSON list of the words that a run can select a job by."""

DAYS = (
    "ALTER TABLE attempts ADD COLUMN day TEXT CHECK (length(day) = 10)",
    "ALTER TABLE attempts ADD COLUMN currency TEXT",
    """
    UPDATE attempts SET day = date(intended_at, 'localtime'), currency = (SELECT coalesce(batches.currency, '')
        FROM jobs JOIN batches ON batches.id = jobs.batch_id WHERE jobs.id = attempts.job_id)
    """,
    """
    CREATE TABLE daily_spending (
        currency TEXT NOT NULL,
        day TEXT NOT NULL,
        price INTEGER NOT NULL CHECK (price >= 0),
        PRIMARY KEY (currency, day)
    ) STRICT, WITHOUT ROWID
    """,
    """
    INSERT INTO daily_spending
    SELECT currency, day, sum(price) FROM attempts WHERE charge <> 'released' AND price IS NOT NULL GROUP BY 1, 2
    """,
    """
    CREATE TRIGGER day_charged AFTER INSERT ON attempts WHEN NEW.price IS NOT NULL AND NEW.day IS NOT NULL
    BEGIN
        INSERT INTO daily_spending VALUES (NEW.currency, NEW.day, iif(NEW.charge = 'released', 0, NEW.price))
        ON CONFLICT DO UPDATE SET price = price + excluded.price;
    END
    """,
    """
    CREATE TRIGGER day_released AFTER UPDATE OF charge ON attempts
    WHEN (OLD.charge = 'released') <> (NEW.charge = 'released') AND NEW.price IS NOT NULL
    BEGIN
        UPDATE daily_spending SET price = price + iif(NEW.charge = 'released', -NEW.price, NEW.price)
        WHERE currency = NEW.currency AND day = NEW.day;
    END
    """,
)
"""What counts against a cap per day or month: the price of a purchase on its day, in its currency, until it is released."""

WORDS = (
    "ALTER TABLE attempts ADD COLUMN task_id TEXT",
    """
    UPDATE attempts SET task_id = (SELECT task_id FROM jobs WHERE id = job_id)
    WHERE number = (SELECT max(number) FROM attempts AS others WHERE others.job_id = attempts.job_id)
    """,
    # a task is one purchase's for ever, also when its job was bought again since
    "CREATE UNIQUE INDEX one_attempt_per_task ON attempts (task_id) WHERE task_id IS NOT NULL",
    """
    CREATE TRIGGER verdicts_say_why BEFORE INSERT ON events
    WHEN NEW.event IN ('absent', 'abandoned', 'cancelled', 'retried', 'reopened') AND coalesce(trim(NEW.note), '') = ''
    BEGIN SELECT raise(ABORT, 'the note must name the evidence or the person'); END
    """,
)
"""What a person, or evidence, decides: the task stays with its purchase, and the history says why."""

PLACES = (
    "ALTER TABLE batches ADD COLUMN manifest TEXT",
    "ALTER TABLE batches ADD COLUMN folder TEXT",
)
"""What a command needs that is given a batch and not its manifest."""

EVIDENCE = (
    """
    CREATE TABLE readings (
        id INTEGER PRIMARY KEY,
        endpoint TEXT NOT NULL,
        account TEXT NOT NULL,
        at TEXT NOT NULL CHECK (length(at) = 27),
        used INTEGER NOT NULL
    ) STRICT
    """,
)
"""What settles doubts: what an account had used when nothing was under way."""

PROOFS = (
    "CREATE TABLE salts (id INTEGER PRIMARY KEY CHECK (id = 1), salt BLOB NOT NULL) STRICT",
    "INSERT INTO salts VALUES (1, randomblob(16))",
    """
    CREATE TABLE replay_proofs (
        id INTEGER PRIMARY KEY,
        base_url TEXT NOT NULL CHECK (instr(base_url, '@') = 0),
        model TEXT NOT NULL,
        key TEXT NOT NULL CHECK (length(key) = 8),  -- its fingerprint
        proved_at TEXT NOT NULL CHECK (length(proved_at) = 27),
        holds INTEGER NOT NULL CHECK (holds IN (0, 1)),
        note TEXT NOT NULL
    ) STRICT
    """,
)
"""What `doctor --prove-replay` saw."""

CAPS = (
    "ALTER TABLE attempts ADD COLUMN run_id INTEGER REFERENCES runs",
    "ALTER TABLE attempts ADD COLUMN tags TEXT NOT NULL DEFAULT '[]'",
    "UPDATE attempts SET tags = (SELECT tags FROM jobs WHERE id = job_id)",
    """
    CREATE TABLE run_spending (
        run_id INTEGER PRIMARY KEY REFERENCES runs,
        price INTEGER NOT NULL CHECK (price >= 0)
    ) STRICT
    """,
    """
    CREATE TABLE tag_spending (
        batch_id INTEGER NOT NULL REFERENCES batches,
        tag TEXT NOT NULL,
        price INTEGER NOT NULL CHECK (price >= 0),
        PRIMARY KEY (batch_id, tag)
    ) STRICT, WITHOUT ROWID
    """,
    """
    INSERT INTO tag_spending
    SELECT batch_id, value, sum(price)
    FROM (SELECT DISTINCT attempts.id, batch_id, value, price
        FROM attempts JOIN jobs ON jobs.id = job_id, json_each(attempts.tags) WHERE charge <> 'released' AND price > 0)
    GROUP BY 1, 2
    """,
    """
    CREATE TRIGGER run_and_tags_charged AFTER INSERT ON attempts WHEN NEW.price > 0 AND NEW.charge <> 'released'
    BEGIN
        INSERT INTO run_spending SELECT NEW.run_id, NEW.price WHERE NEW.run_id IS NOT NULL
        ON CONFLICT DO UPDATE SET price = price + excluded.price;
        INSERT INTO tag_spending
        SELECT DISTINCT (SELECT batch_id FROM jobs WHERE id = NEW.job_id), value, NEW.price FROM json_each(NEW.tags)
        WHERE true ON CONFLICT DO UPDATE SET price = price + excluded.price;
    END
    """,
    """
    CREATE TRIGGER run_and_tags_released AFTER UPDATE OF charge ON attempts
    WHEN (OLD.charge = 'released') <> (NEW.charge = 'released') AND NEW.price > 0
    BEGIN
        UPDATE run_spending SET price = price + iif(NEW.charge = 'released', -NEW.price, NEW.price)
        WHERE run_id = NEW.run_id;
        UPDATE tag_spending SET price = price + iif(NEW.charge = 'released', -NEW.price, NEW.price)
        WHERE batch_id = (SELECT batch_id FROM jobs WHERE id = NEW.job_id)
            AND tag IN (SELECT value FROM json_each(NEW.tags));
    END
    """,
)
"""What counts against a cap per run or per tag: of the run that bought, of the tags that the job had then."""

LEDGER = (
    "ALTER TABLE attempts ADD COLUMN settled_at TEXT CHECK (length(settled_at) = 27)",
    """
    UPDATE attempts SET settled_at = (SELECT max(at) FROM events WHERE events.job_id = attempts.job_id)
    WHERE charge <> 'committed'
    """,
    "ALTER TABLE jobs ADD COLUMN take_of INTEGER REFERENCES jobs",
    "ALTER TABLE jobs ADD COLUMN asked TEXT",
    "CREATE INDEX takes ON jobs (take_of) WHERE take_of IS NOT NULL",
)
"""When it was learned what became of a purchase; whose other take a job is, and the words of the person who asked for it."""

VERDICTS = (
    """
    CREATE TABLE verdicts (
        endpoint TEXT NOT NULL,
        kind TEXT NOT NULL,
        job_id INTEGER REFERENCES jobs,
        at TEXT NOT NULL CHECK (length(at) = 27),
        wrong TEXT,
        PRIMARY KEY (endpoint, kind)
    ) STRICT, WITHOUT ROWID
    """,
    """
    INSERT INTO verdicts
    SELECT endpoint, billing_key || ' ' || seconds || ' ' || json_array_length(request, '$.frames')
        || CASE json_array_length(request, '$.frames') WHEN 0 THEN '' ELSE ' urls' END AS kind,
        min(jobs.id), max(updated_at), NULL
    FROM jobs JOIN batches ON batches.id = batch_id
    WHERE state = 'done' AND json_array_length(request, '$.frames') < 2 GROUP BY 1, 2
    """,
)
"""What the first clips of a kind came to: until they are done and right, the rest of it waits."""

COMPARISONS = (
    "DROP TRIGGER verdicts_say_why",
    """
    CREATE TRIGGER verdicts_say_why BEFORE INSERT ON events
    WHEN (NEW.event = 'absent' OR NEW.event = 'abandoned' OR NEW.event = 'cancelled' OR NEW.event = 'retried'
        OR NEW.event = 'reopened') AND coalesce(trim(NEW.note), '') = ''
    BEGIN SELECT raise(ABORT, 'the note must name the evidence or the person'); END
    """,
)
"""The same rule at a third of its price: see `schema.compared`."""

_WANTED = "batch_id, key, wanted, position, fingerprint, request, output, tags"
RECEIPTS = (
    """
    CREATE TABLE receipts (
        batch_id INTEGER PRIMARY KEY REFERENCES batches,
        manifest TEXT NOT NULL,
        made_of TEXT NOT NULL,
        summary TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE receipt_sources (
        batch_id INTEGER NOT NULL REFERENCES batches,
        path TEXT NOT NULL,
        kind TEXT NOT NULL,
        identity TEXT NOT NULL,
        PRIMARY KEY (batch_id, path, kind)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TRIGGER receipt_of_others AFTER INSERT ON jobs
    BEGIN DELETE FROM receipts WHERE batch_id = NEW.batch_id; END
    """,
    f"""
    CREATE TRIGGER receipt_outdated AFTER UPDATE OF {_WANTED} ON jobs
    BEGIN DELETE FROM receipts WHERE batch_id = NEW.batch_id OR batch_id = OLD.batch_id; END
    """,
    """
    CREATE TRIGGER receipt_incomplete AFTER DELETE ON jobs
    BEGIN DELETE FROM receipts WHERE batch_id = OLD.batch_id; END
    """,
)
"""What the manifest that was adopted last was made of; whatever changes what is wanted, by whomever, makes it void."""

SERVICE_TIMES = (
    """
    CREATE TABLE service_times (
        id INTEGER PRIMARY KEY,
        endpoint TEXT NOT NULL,
        kind TEXT NOT NULL,  -- billing key, seconds, number of frames
        seconds REAL NOT NULL CHECK (seconds >= 0),
        at TEXT NOT NULL CHECK (length(at) = 27)
    ) STRICT
    """,
    "CREATE INDEX service_times_by_kind ON service_times (endpoint, kind)",
)
"""How long tasks took, in the provider's seconds: what polling and the expected finish are learned from."""
