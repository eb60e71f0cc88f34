-- How many sessions there are, and a page of those that live, oldest first: one more than asked for tells that there
-- are more. Words: 1 owner or none, 2 hash of the cursor; numbers: 1 now, 2 created_at of the cursor, 3 limit.
CREATE OR REPLACE FUNCTION list_sessions(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql STABLE AS $$
DECLARE
    now bigint := numbers[1];
    s sessions;
    r reply;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    r.outcome := 'total';
    IF words[1] IS NOT NULL THEN
        SELECT count(*) INTO r.number FROM sessions q WHERE q.owner = words[1];
    ELSE
        SELECT coalesce(sum(c.change), 0) INTO r.number FROM counts c WHERE c.pool IS NULL;
    END IF;
    RETURN NEXT r;
    IF numbers[3] <= 0 THEN
        IF words[1] IS NULL THEN
            FOR r IN SELECT * FROM upstream_counts() LOOP
                RETURN NEXT r;
            END LOOP;
        END IF;
    ELSIF words[1] IS NULL THEN
        FOR s IN SELECT q.* FROM sessions q
            WHERE (q.created_at, q.hash) > (numbers[2], words[2]) AND q.expires_at > now
            ORDER BY q.created_at, q.hash LIMIT numbers[3] + 1
        LOOP
            r := shown(s, 'listed');
            r.number := s.created_at;
            RETURN NEXT r;
        END LOOP;
    ELSE
        FOR s IN SELECT q.* FROM sessions q
            WHERE q.owner = words[1] AND (q.created_at, q.hash) > (numbers[2], words[2]) AND q.expires_at > now
            ORDER BY q.created_at, q.hash LIMIT numbers[3] + 1
        LOOP
            r := shown(s, 'listed');
            r.number := s.created_at;
            RETURN NEXT r;
        END LOOP;
    END IF;
END $$;

-- How many sessions are bound to each upstream that has any.
CREATE OR REPLACE FUNCTION upstream_counts() RETURNS SETOF reply LANGUAGE plpgsql STABLE AS $$
DECLARE
    r reply;
    place record;
BEGIN
    FOR place IN SELECT c.pool, c.upstream, sum(c.change) AS sessions FROM counts c
        WHERE c.pool IS NOT NULL GROUP BY c.pool, c.upstream HAVING sum(c.change) > 0
    LOOP
        r.outcome := 'bound';
        r.number := place.sessions;
        r.pools := ARRAY[place.pool];
        r.upstreams := ARRAY[place.upstream];
        RETURN NEXT r;
    END LOOP;
END $$;
