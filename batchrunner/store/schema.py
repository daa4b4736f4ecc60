"""The database: tables, rules and views, and the migrations that make them.

The rules are CHECK constraints and unique indexes, so that a bug above is refused and not recorded. Three small tables
(`job_counts`, `spending`, `daily_spending`) are kept by triggers: what a run asks often never costs more as jobs finish.
"""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x62_61_74_72
"""`batr` in the file's header: tells our databases from those of other programs."""

TABLES = (
    """
    CREATE TABLE batches (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        endpoint TEXT NOT NULL,
        currency TEXT,
        paused_reason TEXT,
        paused_message TEXT,
        paused_at TEXT CHECK (length(paused_at) = 27),
        created_at TEXT NOT NULL CHECK (length(created_at) = 27)
    ) STRICT
    """,
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        batch_id INTEGER NOT NULL REFERENCES batches,
        pid INTEGER NOT NULL,
        host TEXT NOT NULL,
        started_at TEXT NOT NULL CHECK (length(started_at) = 27),
        finished_at TEXT CHECK (length(finished_at) = 27),
        exit_code INTEGER
    ) STRICT
    """,
    """
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY,
        batch_id INTEGER NOT NULL REFERENCES batches,
        key TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN
            ('pending', 'submitting', 'in_doubt', 'running', 'fetching', 'done', 'failed', 'cancelled')),
        reason TEXT,
        message TEXT,
        wanted INTEGER NOT NULL DEFAULT 1 CHECK (wanted IN (0, 1)),
        position INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        prompt TEXT NOT NULL,
        request TEXT NOT NULL,
        billing_key TEXT NOT NULL,
        seconds INTEGER NOT NULL CHECK (seconds >= 0),
        output TEXT NOT NULL,
        place TEXT,
        attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
        not_before TEXT CHECK (length(not_before) = 27),
        purchase_id TEXT,
        task_id TEXT,
        provider_status TEXT,
        progress INTEGER,
        submitted_at TEXT CHECK (length(submitted_at) = 27),
        expires_at TEXT CHECK (length(expires_at) = 27),
        clip_path TEXT,
        clip_bytes INTEGER,
        clip_sha256 TEXT,
        clip_seconds REAL,
        clip_width INTEGER,
        clip_height INTEGER,
        clip_sound INTEGER CHECK (clip_sound IN (0, 1)),
        created_at TEXT NOT NULL CHECK (length(created_at) = 27),
        updated_at TEXT NOT NULL CHECK (length(updated_at) = 27),
        -- what is not bought has no task; what is being bought has a purchase; what was bought has a task
        CHECK (state NOT IN ('pending', 'submitting', 'in_doubt', 'cancelled') OR task_id IS NULL),
        CHECK (state NOT IN ('submitting', 'in_doubt') OR purchase_id IS NOT NULL),
        CHECK (state NOT IN ('running', 'fetching', 'done') OR (task_id IS NOT NULL AND purchase_id IS NOT NULL)),
        CHECK (state <> 'done' OR (clip_path IS NOT NULL AND clip_bytes > 0 AND clip_sha256 IS NOT NULL)),
        CHECK (state NOT IN ('failed', 'in_doubt') OR reason IS NOT NULL)
    ) STRICT
    """,
    """
    CREATE TABLE attempts (
        id INTEGER PRIMARY KEY,
        job_id INTEGER NOT NULL REFERENCES jobs,
        number INTEGER NOT NULL CHECK (number > 0),
        purchase_id TEXT NOT NULL,
        outcome TEXT NOT NULL DEFAULT 'open' CHECK (outcome IN
            ('open', 'accepted', 'refused', 'returned', 'unanswered', 'found', 'absent', 'abandoned',
             'finished', 'task_failed', 'vanished')),
        charge TEXT NOT NULL DEFAULT 'committed' CHECK (charge IN ('committed', 'spent', 'released')),
        price INTEGER CHECK (price >= 0),
        billing_key TEXT NOT NULL,
        seconds INTEGER NOT NULL CHECK (seconds >= 0),
        body_sha256 TEXT NOT NULL,
        intended_at TEXT NOT NULL CHECK (length(intended_at) = 27),
        answered_at TEXT CHECK (length(answered_at) = 27),
        rule TEXT,
        body_started INTEGER CHECK (body_started IN (0, 1)),
        http_status INTEGER,
        code TEXT,
        message TEXT,
        request_id TEXT,
        UNIQUE (job_id, number)
    ) STRICT
    """,
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL CHECK (length(at) = 27),
        job_id INTEGER NOT NULL REFERENCES jobs,
        from_state TEXT NOT NULL,
        to_state TEXT NOT NULL,
        event TEXT NOT NULL,
        note TEXT
    ) STRICT
    """,
    """
    CREATE TABLE assets (
        sha256 TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        url TEXT NOT NULL CHECK (instr(url, '?') = 0),  -- a query may be a signature
        uploaded_at TEXT NOT NULL CHECK (length(uploaded_at) = 27),
        PRIMARY KEY (sha256, endpoint)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE job_counts (
        batch_id INTEGER NOT NULL REFERENCES batches,
        wanted INTEGER NOT NULL,
        state TEXT NOT NULL,
        jobs INTEGER NOT NULL CHECK (jobs >= 0),
        PRIMARY KEY (batch_id, wanted, state)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE spending (
        batch_id INTEGER NOT NULL REFERENCES batches,
        billing_key TEXT NOT NULL,
        charge TEXT NOT NULL,
        purchases INTEGER NOT NULL CHECK (purchases >= 0),
        unpriced INTEGER NOT NULL CHECK (unpriced >= 0),
        price INTEGER NOT NULL CHECK (price >= 0),
        seconds INTEGER NOT NULL CHECK (seconds >= 0),
        PRIMARY KEY (batch_id, billing_key, charge)
    ) STRICT, WITHOUT ROWID
    """,
)

INDEXES = (
    "CREATE INDEX runs_by_batch ON runs (batch_id, started_at)",
    # a key is unique among what the manifest asks for; a job that it dropped keeps the key it had
    "CREATE UNIQUE INDEX one_wanted_job_per_key ON jobs (batch_id, key) WHERE wanted = 1",
    "CREATE UNIQUE INDEX one_job_per_task ON jobs (task_id) WHERE task_id IS NOT NULL",
    "CREATE UNIQUE INDEX one_job_per_purchase ON jobs (purchase_id) WHERE purchase_id IS NOT NULL",
    "CREATE UNIQUE INDEX one_open_attempt_per_job ON attempts (job_id) WHERE charge = 'committed'",
    "CREATE INDEX jobs_by_state ON jobs (batch_id, wanted, state, position)",
    """
    CREATE INDEX waiting_jobs ON jobs (batch_id, not_before)
    WHERE state = 'pending' AND wanted = 1 AND not_before IS NOT NULL
    """,
    "CREATE INDEX events_by_job ON events (job_id)",
)

_COUNT_NEW = """
        INSERT INTO job_counts VALUES (NEW.batch_id, NEW.wanted, NEW.state, 1)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1;
"""
_COUNT_OLD = """
        UPDATE job_counts SET jobs = jobs - 1
        WHERE batch_id = OLD.batch_id AND wanted = OLD.wanted AND state = OLD.state;
"""
_SPEND_NEW = """
        INSERT INTO spending VALUES (
            (SELECT batch_id FROM jobs WHERE id = NEW.job_id),
            NEW.billing_key, NEW.charge, 1, NEW.price IS NULL, coalesce(NEW.price, 0), NEW.seconds)
        ON CONFLICT DO UPDATE SET
            purchases = purchases + 1, unpriced = unpriced + excluded.unpriced,
            price = price + excluded.price, seconds = seconds + excluded.seconds;
"""
_SPEND_OLD = """
        UPDATE spending SET
            purchases = purchases - 1, unpriced = unpriced - (OLD.price IS NULL),
            price = price - coalesce(OLD.price, 0), seconds = seconds - OLD.seconds
        WHERE batch_id = (SELECT batch_id FROM jobs WHERE id = OLD.job_id)
            AND billing_key = OLD.billing_key AND charge = OLD.charge;
"""

TRIGGERS = (
    f"CREATE TRIGGER count_added AFTER INSERT ON jobs BEGIN {_COUNT_NEW} END",
    f"CREATE TRIGGER count_removed AFTER DELETE ON jobs BEGIN {_COUNT_OLD} END",
    f"""
    CREATE TRIGGER count_moved AFTER UPDATE OF state, wanted ON jobs
    WHEN OLD.state <> NEW.state OR OLD.wanted <> NEW.wanted
    BEGIN {_COUNT_OLD} {_COUNT_NEW} END
    """,
    f"CREATE TRIGGER charge_opened AFTER INSERT ON attempts BEGIN {_SPEND_NEW} END",
    f"""
    CREATE TRIGGER charge_moved AFTER UPDATE OF charge ON attempts WHEN OLD.charge <> NEW.charge
    BEGIN {_SPEND_OLD} {_SPEND_NEW} END
    """,
    """
    CREATE TRIGGER attempts_stay BEFORE DELETE ON attempts
    BEGIN SELECT raise(ABORT, 'attempts are never deleted'); END
    """,
    """
    CREATE TRIGGER events_stay BEFORE DELETE ON events
    BEGIN SELECT raise(ABORT, 'events are only appended'); END
    """,
    """
    CREATE TRIGGER events_do_not_change BEFORE UPDATE ON events
    BEGIN SELECT raise(ABORT, 'events are only appended'); END
    """,
)

VIEWS = (
    """
    CREATE VIEW job_board AS
    SELECT jobs.id, batches.name AS batch, jobs.key, jobs.state, jobs.reason, jobs.message,
        jobs.attempts, jobs.task_id, jobs.provider_status, jobs.progress, jobs.clip_path AS clip,
        (SELECT sum(price) / 1e6 FROM attempts WHERE job_id = jobs.id AND charge <> 'released') AS price,
        batches.currency, jobs.billing_key, jobs.seconds, jobs.prompt, jobs.updated_at
    FROM jobs JOIN batches ON batches.id = jobs.batch_id
    WHERE jobs.wanted = 1
    ORDER BY jobs.batch_id, jobs.position
    """,
    """
    CREATE VIEW failures_by_reason AS
    SELECT batches.name AS batch, jobs.reason, count(*) AS jobs, min(jobs.message) AS example
    FROM jobs JOIN batches ON batches.id = jobs.batch_id
    WHERE jobs.wanted = 1 AND jobs.state = 'failed'
    GROUP BY jobs.batch_id, jobs.reason
    ORDER BY count(*) DESC
    """,
    """
    CREATE VIEW history AS
    SELECT events.id, events.at, batches.name AS batch, jobs.key, events.event,
        events.from_state, events.to_state, events.note
    FROM events JOIN jobs ON jobs.id = events.job_id JOIN batches ON batches.id = jobs.batch_id
    ORDER BY events.id
    """,
)

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

STEPS: dict[str, tuple[str, ...]] = {
    "1_first_version": (*TABLES, *INDEXES, *TRIGGERS, *VIEWS),
    "2_tags": TAGS,
    "3_days": DAYS,
    "4_words": WORDS,
    "5_places": PLACES,
    "6_candidates": ("ALTER TABLE attempts ADD COLUMN candidate TEXT",),
    "7_evidence": EVIDENCE,
    "8_proofs": PROOFS,
    "9_caps": CAPS,
    "10_ledger": LEDGER,
    "11_verdicts": VERDICTS,
    "12_service_times": SERVICE_TIMES,
    "13_saved_plans": ("ALTER TABLE runs ADD COLUMN plan TEXT",),
}
"""Every migration, oldest first. A step that was released never changes; what comes later is a new step."""

VERSION = len(STEPS)
"""`user_version` of a database that has every step."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to `VERSION` in one transaction: afterwards it has the new schema or still the old one."""
    from sqlite_utils import Database, Migrations  # 300 ms to import, and most openings have nothing to migrate

    migrations = Migrations("batchrunner")
    for name, statements in STEPS.items():

        def step(database: Database, statements: tuple[str, ...] = statements) -> None:
            for statement in statements:
                database.execute(statement)

        migrations(name=name)(step)
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(Database(connection, recursive_triggers=False, execute_plugins=False))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
