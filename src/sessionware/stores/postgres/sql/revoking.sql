-- Refuse a token, or all of an owner before an instant, and end the sessions that it reaches, some per call: the
-- refusal stands from the first call on. Words: 1 'token' or 'owner', 2 which; numbers: 1 now, 2 until or before,
-- 3 how many sessions at most, 4 whether it is the first call. The first row tells whether there may be more.
CREATE OR REPLACE FUNCTION revoke_access(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    of_token boolean := words[1] = 'token';
    doomed bytea[];
    ends bigint[];
    each bytea;
    r reply;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    PERFORM take_locks_to_end(locks, doomed_sessions(of_token, words[2], numbers[2], numbers[3], now));
    IF of_token THEN
        INSERT INTO tokens AS t (hash, until) VALUES (words[2], numbers[2])
            ON CONFLICT (hash) DO UPDATE SET until = greatest(t.until, excluded.until);
    ELSE
        INSERT INTO owners AS o (owner, not_before) VALUES (words[2], numbers[2])
            ON CONFLICT (owner) DO UPDATE SET not_before = greatest(o.not_before, excluded.not_before);
    END IF;
    IF numbers[4] = 1 THEN
        PERFORM publish(CASE WHEN of_token THEN 'T' || encode(words[2], 'hex')
            ELSE 'O' || encode(words[2], 'hex') || '00' END || numbers[2]);
    END IF;
    -- Who was made while the locks were waited for is among them now: nobody is made without the same lock.
    doomed := doomed_sessions(of_token, words[2], numbers[2], numbers[3], now);
    FOREACH each IN ARRAY doomed LOOP
        PERFORM want_lock(each);
    END LOOP;
    FOREACH each IN ARRAY doomed_sessions(of_token, words[2], numbers[2], numbers[3], now) LOOP
        IF each = ANY (doomed) THEN
            ends := array_append(ends, end_session(each, 'revoked', now));
        END IF;
    END LOOP;
    r.outcome := 'revoked';
    r.number := (cardinality(doomed) = numbers[3])::integer;
    RETURN NEXT r;
    IF ends IS NOT NULL THEN
        RETURN QUERY SELECT * FROM handed_over(ends, 0);
    END IF;
END $$;

-- The live sessions that a revocation reaches, oldest first.
CREATE OR REPLACE FUNCTION doomed_sessions(
    of_token boolean, which bytea, instant bigint, at_most bigint, now bigint
) RETURNS bytea[] LANGUAGE plpgsql AS $$
BEGIN
    IF of_token THEN
        RETURN ARRAY(SELECT q.hash FROM sessions q WHERE q.started_by = which AND q.expires_at > now
            ORDER BY q.created_at, q.hash LIMIT at_most);
    END IF;
    RETURN ARRAY(SELECT q.hash FROM sessions q
        WHERE q.owner = which AND q.created_at <= greatest(instant, not_before_of(which)) AND q.expires_at > now
        ORDER BY q.created_at, q.hash LIMIT at_most);
END $$;
