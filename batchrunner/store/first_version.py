"""The schema as it was first released: tables, rules and views. It never changes; `later_versions` has what came since."""

from __future__ import annotations

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
