-- Version 1. WITHOUT ROWID where a row is small and is found by its key alone. Nothing here is ever vacuumed.

CREATE TABLE installation (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    salt BLOB NOT NULL,
    buckets INTEGER NOT NULL,
    sessions INTEGER NOT NULL, -- how many rows `sessions` has: counting them would walk the table
    made_as INTEGER NOT NULL -- the version whose schema.sql made this file, and so said where each table begins
);

CREATE TABLE tokens (
    hash BLOB PRIMARY KEY,
    until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX tokens_by_end ON tokens (until);

CREATE TABLE owners (
    owner BLOB PRIMARY KEY,
    not_before INTEGER NOT NULL,
    limits BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE orgs (
    org BLOB PRIMARY KEY,
    limits BLOB NOT NULL
) WITHOUT ROWID;

-- What an admission reads and writes. The payload lies elsewhere: an update rewrites its whole row.
CREATE TABLE sessions (
    hash BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    hits INTEGER NOT NULL,
    idle INTEGER NOT NULL,
    absolute_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    owner BLOB NOT NULL,
    birth BLOB NOT NULL,
    counters BLOB,
    open BLOB,
    limits BLOB,
    bindings BLOB,
    created_at INTEGER NOT NULL,
    started_by BLOB,
    indexed_at INTEGER NOT NULL -- never later than expires_at; moved only when it lags (rules.index_lags)
) WITHOUT ROWID;
CREATE INDEX sessions_by_owner ON sessions (owner, created_at);
CREATE INDEX sessions_by_creation ON sessions (created_at);
CREATE INDEX sessions_by_token ON sessions (started_by, created_at) WHERE started_by IS NOT NULL;
CREATE INDEX sessions_by_expiry ON sessions (indexed_at);

CREATE TABLE payloads (
    hash BLOB PRIMARY KEY,
    metadata BLOB NOT NULL,
    data BLOB NOT NULL
);

CREATE TABLE logs (
    session BLOB NOT NULL,
    log TEXT NOT NULL,
    number INTEGER NOT NULL,
    item BLOB NOT NULL,
    PRIMARY KEY (session, log, number)
);

CREATE TABLE log_counts (
    session BLOB NOT NULL,
    log TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (session, log)
) WITHOUT ROWID;

CREATE TABLE links (
    id INTEGER PRIMARY KEY, -- the order in which they came
    hash BLOB NOT NULL UNIQUE,
    session BLOB NOT NULL,
    seen_at INTEGER NOT NULL,
    body BLOB NOT NULL,
    handshake BLOB NOT NULL
);
CREATE INDEX links_by_session ON links (session, id);

CREATE TABLE upstreams (
    pool TEXT NOT NULL,
    upstream TEXT NOT NULL,
    sessions INTEGER NOT NULL,
    PRIMARY KEY (pool, upstream)
) WITHOUT ROWID;

CREATE TABLE counters (
    key BLOB PRIMARY KEY,
    window INTEGER NOT NULL,
    used INTEGER NOT NULL,
    before INTEGER NOT NULL,
    stale_at INTEGER NOT NULL,
    is_level INTEGER NOT NULL DEFAULT 0 -- counts live sessions: made anew from them by a salvage
) WITHOUT ROWID;
CREATE INDEX counters_by_end ON counters (stale_at);

CREATE TABLE leases (
    key BLOB NOT NULL,
    operation BLOB NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (key, operation)
) WITHOUT ROWID;

CREATE TABLE tombstones (
    hash BLOB PRIMARY KEY,
    reason TEXT NOT NULL,
    owner BLOB NOT NULL,
    proof TEXT NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX tombstones_by_end ON tombstones (until);

CREATE TABLE ended (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- the receipt: unique for ever and for all processes
    ended_at INTEGER NOT NULL,
    claimed_until INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX ended_by_claim ON ended (claimed_until);
CREATE INDEX ended_by_end ON ended (ended_at);

CREATE TABLE operations (
    owner BLOB NOT NULL,
    number INTEGER NOT NULL, -- counts up per owner, so that the oldest can be dropped
    kind TEXT NOT NULL, -- of call
    operation BLOB NOT NULL,
    until INTEGER NOT NULL,
    answer BLOB NOT NULL,
    PRIMARY KEY (owner, number)
);
CREATE UNIQUE INDEX operations_by_id ON operations (owner, kind, operation);
CREATE INDEX operations_by_end ON operations (until);

CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- without holes, so that a watcher knows what it missed
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body BLOB NOT NULL
);
