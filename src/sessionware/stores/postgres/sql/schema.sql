-- Version 1. What an index covers does not change when a request is admitted (HOT): `indexed_at` and `kept_until`
-- follow lazily. Every row is written under the advisory lock of its key (locks.sql), garbage excepted.

CREATE TABLE tokens (
    hash bytea PRIMARY KEY,
    until bigint NOT NULL
);
CREATE INDEX tokens_by_end ON tokens (until);

-- Overrides lie in two arrays everywhere: names, and for each name its allowance and until when it holds.
CREATE TABLE owners (
    owner bytea PRIMARY KEY,
    not_before bigint NOT NULL,
    limit_names bytea[],
    limit_values bigint[]
);

CREATE TABLE orgs (
    org bytea PRIMARY KEY,
    limit_names bytea[],
    limit_values bigint[]
);

-- What an admission reads and writes. The payload lies elsewhere: an update copies its whole row.
CREATE TABLE sessions (
    hash bytea PRIMARY KEY,
    created_at bigint NOT NULL,
    idle bigint NOT NULL,
    absolute_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    hits bigint NOT NULL,
    revision bigint NOT NULL,
    indexed_at bigint NOT NULL, -- never later than expires_at; moved only when it lags (rules.sql)
    context_count bigint NOT NULL,
    events_count bigint NOT NULL,
    by_id boolean NOT NULL, -- its id is proof enough
    is_named boolean NOT NULL,
    owner bytea NOT NULL,
    birth bytea NOT NULL,
    started_by bytea,
    holds bytea[],
    limit_names bytea[],
    limit_values bigint[],
    pools bytea[],
    upstreams bytea[],
    counter_keys bytea[],
    counters bigint[], -- for each key: window, used, before
    open_operations bytea[],
    open_until bigint[]
) WITH (fillfactor = 70);
CREATE INDEX sessions_by_owner ON sessions (owner, created_at, hash);
CREATE INDEX sessions_by_creation ON sessions (created_at, hash);
CREATE INDEX sessions_by_token ON sessions (started_by, created_at) WHERE started_by IS NOT NULL;
CREATE INDEX sessions_by_expiry ON sessions (indexed_at, hash);

CREATE TABLE payloads (
    hash bytea PRIMARY KEY,
    metadata bytea NOT NULL,
    data bytea NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE logs (
    session bytea NOT NULL,
    log text NOT NULL,
    number bigint NOT NULL,
    item bytea NOT NULL,
    PRIMARY KEY (session, log, number)
);

CREATE TABLE links (
    hash bytea PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY, -- the order in which they came
    session bytea NOT NULL,
    seen_at bigint NOT NULL,
    body bytea NOT NULL,
    handshake bytea NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX links_by_session ON links (session, number);

-- Sums of changes: a row that all workers raise would make each wait for the other. `collect` adds them up.
CREATE TABLE counts (
    pool bytea, -- no pool: how many sessions there are
    upstream bytea,
    change bigint NOT NULL
);

CREATE TABLE counters (
    key bytea PRIMARY KEY,
    stored bigint NOT NULL, -- the window's number
    used bigint NOT NULL,
    before bigint NOT NULL,
    kept_until bigint NOT NULL -- not before it is stale
) WITH (fillfactor = 70);
CREATE INDEX counters_by_end ON counters (kept_until);

CREATE TABLE leases (
    key bytea NOT NULL,
    operation bytea NOT NULL,
    until bigint NOT NULL,
    PRIMARY KEY (key, operation)
) WITH (fillfactor = 70);

CREATE TABLE tombstones (
    hash bytea PRIMARY KEY,
    reason text NOT NULL,
    owner bytea NOT NULL,
    by_id boolean NOT NULL,
    until bigint NOT NULL
);
CREATE INDEX tombstones_by_end ON tombstones (until);

-- One row of an answer: a session, what became of the question, and what belongs to it. Every function answers in it.
CREATE TYPE reply AS (
    at integer, -- which question of a batch
    outcome text,
    number bigint,
    moment bigint,
    reason text,
    full_name bytea,
    ends bigint[], -- receipts of those that ended for it
    tallies bigint[],
    leases bigint[],
    hash bytea,
    birth bytea,
    idle bigint,
    absolute_at bigint,
    expires_at bigint,
    seen_at bigint,
    hits bigint,
    revision bigint,
    limit_names bytea[],
    limit_values bigint[],
    pools bytea[],
    upstreams bytea[],
    metadata bytea,
    data bytea,
    link_hashes bytea[],
    link_bodies bytea[],
    link_seen bigint[],
    link_handshakes bytea[]
);

CREATE TABLE ended (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the receipt
    ended_at bigint NOT NULL,
    claimed_until bigint NOT NULL,
    answer reply NOT NULL
);
CREATE INDEX ended_by_claim ON ended (claimed_until);
CREATE INDEX ended_by_end ON ended (ended_at);

CREATE TABLE operations (
    owner bytea NOT NULL,
    number bigint NOT NULL, -- counts up per owner, so that the oldest can be dropped
    kind text NOT NULL, -- of call
    operation bytea NOT NULL,
    until bigint NOT NULL,
    answer reply,
    PRIMARY KEY (owner, number)
);
CREATE UNIQUE INDEX operations_by_id ON operations (owner, kind, operation);
CREATE INDEX operations_by_end ON operations (until);

-- A session that may be made, and the caps that it must fit.
CREATE TYPE newborn AS (
    session sessions,
    metadata bytea,
    data bytea,
    per_owner bigint,
    evicts boolean,
    level_names bytea[],
    level_keys bytea[],
    level_allowances bigint[]
);
