-- The bounded logs of a session.

-- Words: 1 hash, 2 log, 3 item; numbers: 1 now, 2 keep.
CREATE OR REPLACE FUNCTION append_item(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    which text := convert_from(words[2], 'UTF8');
    s sessions;
    r reply;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    PERFORM take_locks(locks);
    UPDATE sessions q SET
            context_count = q.context_count + (which = 'context')::integer,
            events_count = q.events_count + (which = 'events')::integer
        WHERE q.hash = words[1] AND q.expires_at > now RETURNING q.* INTO s;
    IF NOT FOUND THEN
        r.outcome := 'missing';
    ELSE
        r.outcome := 'added';
        r.number := CASE which WHEN 'context' THEN s.context_count ELSE s.events_count END;
        IF numbers[2] > 0 THEN
            INSERT INTO logs (session, log, number, item) VALUES (words[1], which, r.number, words[3]);
        END IF;
        DELETE FROM logs g WHERE g.session = words[1] AND g.log = which AND g.number <= r.number - numbers[2];
    END IF;
    RETURN NEXT r;
END $$;

-- The newest items, oldest first, each in a row's `data`. Words: 1 hash, 2 log; numbers: 1 now, 2 count.
CREATE OR REPLACE FUNCTION tail_items(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql STABLE AS $$
DECLARE
    now bigint := numbers[1];
    r reply;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    r.outcome := 'missing';
    IF EXISTS (SELECT FROM sessions q WHERE q.hash = words[1] AND q.expires_at > now) THEN
        r.outcome := 'items';
    END IF;
    RETURN NEXT r;
    r.outcome := 'item';
    FOR r.data IN
        SELECT t.item FROM (
            SELECT g.number, g.item FROM logs g WHERE g.session = words[1] AND g.log = convert_from(words[2], 'UTF8')
                ORDER BY g.number DESC LIMIT numbers[2]
        ) AS t ORDER BY t.number
    LOOP
        RETURN NEXT r;
    END LOOP;
END $$;
