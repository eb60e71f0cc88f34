-- Who writes holds the locks of all keys that are written, or whose rows decide. Nobody ever waits for a lock while
-- holding a greater one: a call takes what it knows first, in order, and only tries for what it learns later.

-- Keys are hashes already, salted per installation: their first eight bytes name the lock.
CREATE OR REPLACE FUNCTION lock_of(key bytea) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('x' || rpad(encode(substr(key, 1, 8), 'hex'), 16, '0'))::bit(64)::bigint
$$;

-- `locks` come sorted.
CREATE OR REPLACE FUNCTION take_locks(locks bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(each) FROM unnest(locks) AS each;
END $$;

-- The locks of sessions that may end, and of the levels that count them, beside those that are known.
CREATE OR REPLACE FUNCTION take_locks_to_end(locks bigint[], hashes bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(each) FROM (
        SELECT DISTINCT each FROM (
            SELECT unnest(locks) AS each
            UNION ALL SELECT lock_of(hash) FROM unnest(hashes) AS hash
            UNION ALL SELECT lock_of(hold) FROM sessions, unnest(sessions.holds) AS hold
                WHERE sessions.hash = ANY (hashes)
        ) AS wanted ORDER BY each OFFSET 0
    ) AS sorted;
END $$;

-- Have a lock that was not known before: at once, or the call is undone and comes again with it.
CREATE OR REPLACE FUNCTION want_lock(key bytea) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(lock_of(key)) THEN
        RAISE EXCEPTION 'another call holds a lock that this one turned out to need'
            USING ERRCODE = 'SW001', DETAIL = lock_of(key)::text;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION publish(message text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('sessionware:' || current_schema(), message);
END $$;
