-- The laws of core/ledger.py, core/session.py and core/rules.py that are one expression each.

CREATE OR REPLACE FUNCTION deadline(seen_at bigint, idle bigint, absolute_at bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT least(CASE WHEN idle > 0 THEN seen_at + idle ELSE 9007199254740991 END, nullif(absolute_at, 0))
$$;

CREATE OR REPLACE FUNCTION index_lags(expires_at bigint, indexed_at bigint, idle bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT expires_at < indexed_at OR expires_at - indexed_at > idle / 8
$$;

CREATE OR REPLACE FUNCTION clamped(amount bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT least(greatest(amount, 0), 9000000000)
$$;

-- A counter is kept at least until it is stale; longer, so that its index moves once in ten minutes at most.
CREATE OR REPLACE FUNCTION kept_for(stale_at bigint, kept_until bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN kept_until >= stale_at THEN kept_until ELSE stale_at + 600000 END
$$;

CREATE OR REPLACE FUNCTION is_open(open_until bigint[], now bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(now < ANY (open_until), false)
$$;

-- The allowance that an override grants, or NULL.
CREATE OR REPLACE FUNCTION override_of(limit_name bytea, names bytea[], overrides bigint[], now bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    place integer := array_position(names, limit_name);
BEGIN
    IF place IS NOT NULL AND now < overrides[2 * place] THEN
        RETURN overrides[2 * place - 1];
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION store_time() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint
$$;

-- The store's time in milliseconds if `now` is further from it than is tolerated, else NULL. 0: a test's own clock.
CREATE OR REPLACE FUNCTION skewed(now bigint, max_skew bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    store_now bigint := store_time();
BEGIN
    RETURN CASE WHEN max_skew > 0 AND abs(now - store_now) > max_skew THEN store_now END;
END $$;

-- A reply that asks the worker to set its clock.
CREATE OR REPLACE FUNCTION skew_reply(store_now bigint) RETURNS reply
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    r reply;
BEGIN
    r.outcome := 'skew';
    r.number := store_now;
    RETURN r;
END $$;
