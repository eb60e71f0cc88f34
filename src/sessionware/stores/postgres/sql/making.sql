-- Making room for a session, and making it.

-- Read a session that may be made. Words: 1 hash, 2 owner, 3 birth, 4 metadata, 5 data, 6 started_by, then pools,
-- upstreams, names of limits, holds, and name and key of each level. Numbers: 1 created_at, 2 idle, 3 absolute_at,
-- 4 expires_at, 5 seen_at, 6 hits, 7 revision, 8 by_id, 9 is_named, 10 per_owner, 11 evicts, how many 12 bindings,
-- 13 limits, 14 holds, 15 levels, then the values of the limits and the allowances of the levels.
CREATE OR REPLACE FUNCTION read_newborn(words bytea[], numbers bigint[], w integer, n integer) RETURNS newborn
LANGUAGE plpgsql AS $$
DECLARE
    born newborn;
    s sessions;
    bindings integer := numbers[n + 12];
    limits integer := numbers[n + 13];
    holds integer := numbers[n + 14];
    levels integer := numbers[n + 15];
BEGIN
    s.hash := words[w + 1];
    s.owner := words[w + 2];
    s.birth := words[w + 3];
    s.started_by := words[w + 6];
    s.created_at := numbers[n + 1];
    s.idle := numbers[n + 2];
    s.absolute_at := numbers[n + 3];
    s.expires_at := numbers[n + 4];
    s.seen_at := numbers[n + 5];
    s.hits := numbers[n + 6];
    s.revision := numbers[n + 7];
    s.by_id := numbers[n + 8] = 1;
    s.is_named := numbers[n + 9] = 1;
    s.indexed_at := s.expires_at;
    s.context_count := 0;
    s.events_count := 0;
    born.metadata := words[w + 4];
    born.data := words[w + 5];
    born.per_owner := numbers[n + 10];
    born.evicts := numbers[n + 11] = 1;
    w := w + 6;
    n := n + 15;
    IF bindings > 0 THEN
        s.pools := words[w + 1 : w + bindings];
        s.upstreams := words[w + bindings + 1 : w + 2 * bindings];
        w := w + 2 * bindings;
    END IF;
    IF limits > 0 THEN
        s.limit_names := words[w + 1 : w + limits];
        s.limit_values := numbers[n + 1 : n + 2 * limits];
        w := w + limits;
        n := n + 2 * limits;
    END IF;
    IF holds > 0 THEN
        s.holds := words[w + 1 : w + holds];
        w := w + holds;
    END IF;
    born.level_names := words[w + 1 : w + levels];
    born.level_keys := words[w + levels + 1 : w + 2 * levels];
    born.level_allowances := numbers[n + 1 : n + levels];
    born.session := s;
    RETURN born;
END $$;

CREATE OR REPLACE FUNCTION level_used(level_key bytea) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    RETURN coalesce((SELECT c.used FROM counters c WHERE c.key = level_key), 0);
END $$;

CREATE OR REPLACE FUNCTION not_before_of(whose bytea) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
    RETURN coalesce((SELECT o.not_before FROM owners o WHERE o.owner = whose), -1);
END $$;

-- End those of these sessions that have expired; what was touched since it was filed is filed anew.
CREATE OR REPLACE FUNCTION end_expired(hashes bytea[], now bigint) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    each bytea;
    life record;
    ends bigint[];
BEGIN
    FOREACH each IN ARRAY hashes LOOP
        SELECT s.expires_at, s.indexed_at INTO life FROM sessions s WHERE s.hash = each;
        IF FOUND AND now >= life.expires_at THEN
            ends := array_append(ends, end_session(each, 'expired', now));
        ELSIF FOUND AND life.indexed_at <> life.expires_at THEN
            UPDATE sessions s SET indexed_at = s.expires_at WHERE s.hash = each;
        END IF;
    END LOOP;
    RETURN ends;
END $$;

-- The sessions that look expired, by the index.
CREATE OR REPLACE FUNCTION due_sessions(now bigint, at_most bigint) RETURNS bytea[]
LANGUAGE plpgsql AS $$
BEGIN
    RETURN coalesce(array_agg(d.hash), '{}') FROM (
        SELECT s.hash FROM sessions s WHERE s.indexed_at <= now ORDER BY s.indexed_at, s.hash LIMIT at_most
    ) AS d;
END $$;

-- A level counts expired sessions until they are reaped: when one is full, a few are removed first.
CREATE OR REPLACE FUNCTION sweep_for_levels(born newborn, now bigint) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    full_level boolean := false;
    due bytea[];
    each bytea;
BEGIN
    FOR i IN 1 .. cardinality(born.level_keys) LOOP
        full_level := full_level OR level_used(born.level_keys[i]) >= born.level_allowances[i];
    END LOOP;
    IF NOT full_level THEN
        RETURN NULL;
    END IF;
    due := due_sessions(now, 64);
    FOREACH each IN ARRAY due LOOP
        PERFORM want_lock(each);
    END LOOP;
    RETURN end_expired(due, now);
END $$;

-- Who of an owner goes, of the 64 oldest: the dead first, then the oldest that is not open.
CREATE OR REPLACE FUNCTION victims_of(
    whose bytea, gone bytea[], not_before bigint, evicts boolean, wanted bigint, now bigint,
    OUT hashes bytea[], OUT reasons text[]
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT coalesce(array_agg(v.hash ORDER BY v.rank, v.created_at, v.hash), '{}'),
            coalesce(array_agg(v.why ORDER BY v.rank, v.created_at, v.hash), '{}')
        INTO hashes, reasons
        FROM (
            SELECT c.*, CASE WHEN c.why = 'evicted' THEN 1 ELSE 0 END AS rank FROM (
                SELECT s.hash, s.created_at, s.open_until, CASE
                        WHEN now >= s.expires_at THEN 'expired'
                        WHEN s.created_at <= not_before THEN 'revoked'
                        ELSE 'evicted'
                    END AS why
                FROM sessions s WHERE s.owner = whose ORDER BY s.created_at, s.hash LIMIT 64
            ) AS c
            WHERE c.hash <> ALL (gone) AND (c.why <> 'evicted' OR (evicts AND NOT is_open(c.open_until, now)))
            ORDER BY rank, c.created_at, c.hash LIMIT wanted
        ) AS v;
END $$;

-- Which sessions must go so that the new one fits its caps, and why; or the name of the cap that is full.
CREATE OR REPLACE FUNCTION room_for(
    born newborn, leaving bytea, now bigint, OUT hashes bytea[], OUT reasons text[], OUT full_name bytea
) LANGUAGE plpgsql AS $$
DECLARE
    fresh sessions := born.session;
    not_before bigint := not_before_of(fresh.owner);
    gone bytea[] := ARRAY[fresh.hash, coalesce(leaving, fresh.hash)];
    stale record;
    wanted bigint := 0;
    chosen record;
    again record;
    each bytea;
    freed bigint;
BEGIN
    hashes := '{}';
    reasons := '{}';
    SELECT s.expires_at, s.created_at INTO stale FROM sessions s WHERE s.hash = fresh.hash;
    IF FOUND THEN
        hashes := ARRAY[fresh.hash];
        reasons := ARRAY[CASE WHEN now < stale.expires_at AND stale.created_at <= not_before THEN 'revoked'
            ELSE 'expired' END];
    END IF;
    IF born.per_owner > 0 THEN
        SELECT least(count(*) - born.per_owner + 1, 8) INTO wanted
            FROM sessions s WHERE s.owner = fresh.owner AND s.hash <> ALL (gone);
    END IF;
    IF wanted > 0 THEN
        chosen := victims_of(fresh.owner, gone, not_before, born.evicts, wanted, now);
        IF cardinality(chosen.hashes) < wanted THEN
            full_name := 'owner';
            RETURN;
        END IF;
        FOREACH each IN ARRAY chosen.hashes LOOP
            PERFORM want_lock(each);
        END LOOP;
        again := victims_of(fresh.owner, gone, not_before, born.evicts, wanted, now);
        IF again IS DISTINCT FROM chosen THEN -- they moved before they were locked: once more
            RAISE EXCEPTION 'the sessions to be evicted were in use'
                USING ERRCODE = 'SW001', DETAIL = lock_of(chosen.hashes[1])::text;
        END IF;
        hashes := hashes || chosen.hashes;
        reasons := reasons || chosen.reasons;
    END IF;
    FOR i IN 1 .. cardinality(born.level_keys) LOOP
        SELECT count(*) INTO freed FROM sessions s
            WHERE s.hash = ANY (hashes) AND born.level_keys[i] = ANY (s.holds);
        IF level_used(born.level_keys[i]) - freed >= born.level_allowances[i] THEN
            full_name := born.level_names[i];
            RETURN;
        END IF;
    END LOOP;
END $$;

-- Make the session after those in its way have ended; answers their receipts.
CREATE OR REPLACE FUNCTION make(born newborn, hashes bytea[], reasons text[], now bigint) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    fresh sessions := born.session;
    ends bigint[];
BEGIN
    FOR i IN 1 .. cardinality(hashes) LOOP
        ends := array_append(ends, end_session(hashes[i], reasons[i], now));
    END LOOP;
    DELETE FROM tombstones t WHERE t.hash = fresh.hash;
    INSERT INTO sessions SELECT fresh.*;
    INSERT INTO payloads AS p (hash, metadata, data) VALUES (fresh.hash, born.metadata, born.data)
        ON CONFLICT (hash) DO UPDATE SET metadata = excluded.metadata, data = excluded.data;
    FOR i IN 1 .. cardinality(born.level_keys) LOOP
        PERFORM add_level(born.level_keys[i], 1);
    END LOOP;
    INSERT INTO counts (change) VALUES (1);
    PERFORM count_bindings(fresh.pools, fresh.upstreams, 1);
    RETURN ends;
END $$;
