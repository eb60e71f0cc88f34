-- Ends what has expired, hands out again what nobody acknowledged, collects garbage: a slice per call.

-- Numbers: 1 now, 2 limit. The first row tells whether there may be more.
CREATE OR REPLACE FUNCTION reap_due(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    due bytea[];
    ends bigint[];
    r reply;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    due := due_sessions(now, numbers[2]);
    PERFORM take_locks_to_end(locks, due);
    ends := end_expired(due, now);
    r.outcome := 'reaped';
    r.number := (cardinality(due) = numbers[2])::integer;
    RETURN NEXT r;
    IF ends IS NOT NULL THEN
        RETURN QUERY SELECT * FROM handed_over(ends, 0);
    END IF;
END $$;

-- End those that nothing has touched for a while and that are not open, in order of creation. Words: 1 hash to go on
-- from; numbers: 1 now, 2 limit, 3 idle for, 4 created_at to go on from, 5 how many to look at. The first row tells
-- where to go on, if there is more.
CREATE OR REPLACE FUNCTION reap_idle(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    seen bigint := 0;
    s sessions;
    idle bytea[] := '{}';
    ends bigint[];
    each bytea;
    r reply;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    r.outcome := 'reaped';
    FOR s IN SELECT q.* FROM sessions q WHERE (q.created_at, q.hash) > (numbers[4], words[1])
        ORDER BY q.created_at, q.hash LIMIT numbers[5]
    LOOP
        seen := seen + 1;
        r.moment := s.created_at;
        r.hash := s.hash;
        IF now - s.seen_at >= numbers[3] AND NOT is_open(s.open_until, now) THEN
            idle := array_append(idle, s.hash);
            EXIT WHEN cardinality(idle) = numbers[2];
        END IF;
    END LOOP;
    r.number := (seen = numbers[5] OR cardinality(idle) = numbers[2])::integer;
    PERFORM take_locks_to_end(locks, idle);
    FOREACH each IN ARRAY idle LOOP
        SELECT q.* INTO s FROM sessions q WHERE q.hash = each;
        IF FOUND AND now - s.seen_at >= numbers[3] AND NOT is_open(s.open_until, now) THEN
            ends := array_append(ends, end_session(each, 'expired', now));
        END IF;
    END LOOP;
    RETURN NEXT r;
    IF ends IS NOT NULL THEN
        RETURN QUERY SELECT * FROM handed_over(ends, 0);
    END IF;
END $$;

-- Hand out ends whose claim ran out. Numbers: 1 now, 2 limit.
CREATE OR REPLACE FUNCTION claim_ends(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    receipts bigint[];
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    receipts := ARRAY(SELECT e.number FROM ended e WHERE e.claimed_until <= now AND e.ended_at > now - 3600000
        ORDER BY e.number LIMIT numbers[2] FOR UPDATE SKIP LOCKED);
    UPDATE ended e SET claimed_until = now + 30000 WHERE e.number = ANY (receipts);
    RETURN QUERY SELECT * FROM handed_over(receipts, 0);
END $$;

-- Delete what is worth nothing any more; it waits for nobody. Numbers: 1 now, 2 rows of each kind. Answers whether
-- there may be more.
CREATE OR REPLACE FUNCTION collect(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    newest bigint;
    gone bigint;
    most bigint := 0;
    r reply;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    DELETE FROM tombstones WHERE ctid = ANY (ARRAY(
        SELECT t.ctid FROM tombstones t WHERE t.until <= now LIMIT numbers[2] FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    most := greatest(most, gone);
    DELETE FROM operations WHERE ctid = ANY (ARRAY(
        SELECT o.ctid FROM operations o WHERE o.until <= now LIMIT numbers[2] FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    most := greatest(most, gone);
    DELETE FROM tokens WHERE ctid = ANY (ARRAY(
        SELECT t.ctid FROM tokens t WHERE t.until <= now LIMIT numbers[2] FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    most := greatest(most, gone);
    DELETE FROM counters WHERE ctid = ANY (ARRAY(
        SELECT c.ctid FROM counters c WHERE c.kept_until <= now LIMIT numbers[2] FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    most := greatest(most, gone);
    DELETE FROM leases WHERE ctid = ANY (ARRAY(
        SELECT h.ctid FROM leases h WHERE h.until <= now LIMIT numbers[2] FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    most := greatest(most, gone);
    newest := (SELECT max(e.number) FROM ended e);
    DELETE FROM ended WHERE ctid = ANY (ARRAY(
        SELECT e.ctid FROM ended e WHERE e.ended_at <= now - 3600000 LIMIT numbers[2] FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS gone = ROW_COUNT;
    most := greatest(most, gone);
    PERFORM trim_ends(numbers[2]);
    -- Changes become sums. Two at once would wait for each other's rows.
    IF pg_try_advisory_xact_lock(hashtextextended('sessionware counts ' || current_schema(), 0)) THEN
        WITH summed AS (DELETE FROM counts RETURNING *)
            INSERT INTO counts (pool, upstream, change)
                SELECT c.pool, c.upstream, sum(c.change) FROM summed c
                    GROUP BY c.pool, c.upstream HAVING sum(c.change) <> 0;
    END IF;
    r.outcome := 'collected';
    r.number := (most = numbers[2])::integer;
    RETURN NEXT r;
END $$;

-- Forget the oldest ends beyond 10,000; they are counted only when there could be so many.
CREATE OR REPLACE FUNCTION trim_ends(at_most bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    excess bigint;
BEGIN
    SELECT max(e.number) - min(e.number) + 1 - 10000 INTO excess FROM ended e;
    IF excess > 0 THEN
        SELECT count(*) - 10000 INTO excess FROM ended e;
    END IF;
    IF excess > 0 THEN
        DELETE FROM ended WHERE ctid = ANY (ARRAY(
            SELECT e.ctid FROM ended e ORDER BY e.number LIMIT least(excess, at_most) FOR UPDATE SKIP LOCKED));
    END IF;
END $$;
