-- What has happened (core/facts.py), each fact by itself. Numbers begin with now; each fact then has how many words,
-- how many numbers, and its kind. Answers one row: in `tallies`, 1 for each fact that was booked.

CREATE OR REPLACE FUNCTION record_facts(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    w integer := 0;
    n integer := 1;
    booked boolean;
    r reply;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    PERFORM take_locks(locks);
    r.tallies := '{}';
    WHILE n < cardinality(numbers) LOOP
        booked := CASE numbers[n + 3]
            WHEN 1 THEN book_touched(words, numbers, w, n, now)
            WHEN 2 THEN book_settled(words, numbers, w, n, now)
            WHEN 3 THEN book_renewed(words, numbers, w, n, now)
            WHEN 4 THEN book_released(words, numbers, w, n, now)
            WHEN 5 THEN acknowledge(numbers[n + 4])
            WHEN 6 THEN book_limits(words, numbers, w, n, now)
            WHEN 7 THEN interrupt(words[w + 1], numbers[n + 4], n, now)
        END;
        r.tallies := array_append(r.tallies, booked::integer::bigint);
        w := w + numbers[n + 1];
        n := n + numbers[n + 2];
    END LOOP;
    r.outcome := 'booked';
    RETURN NEXT r;
END $$;

CREATE OR REPLACE FUNCTION live_session(asked bytea, now bigint) RETURNS sessions LANGUAGE plpgsql AS $$
DECLARE
    s sessions;
BEGIN
    SELECT q.* INTO s FROM sessions q WHERE q.hash = asked AND q.expires_at > now;
    RETURN s;
END $$;

-- Words: 1 hash; numbers: 4 at, 5 hits.
CREATE OR REPLACE FUNCTION book_touched(words bytea[], numbers bigint[], w integer, n integer, now bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    s sessions := live_session(words[w + 1], now);
BEGIN
    IF s.hash IS NULL THEN
        RETURN false;
    END IF;
    s.seen_at := greatest(numbers[n + 4], s.seen_at);
    s.expires_at := deadline(s.seen_at, s.idle, s.absolute_at);
    IF index_lags(s.expires_at, s.indexed_at, s.idle) THEN
        s.indexed_at := s.expires_at;
    END IF;
    UPDATE sessions q SET seen_at = s.seen_at, expires_at = s.expires_at, indexed_at = s.indexed_at,
            hits = q.hits + numbers[n + 5]
        WHERE q.hash = s.hash;
    RETURN true;
END $$;

-- Words: 1 owner, 2 operation, 3 hash or none, then the key of each spend; numbers: 4 spends, then per spend window,
-- cost, stale_at and whether it is a counter of the session.
CREATE OR REPLACE FUNCTION book_settled(words bytea[], numbers bigint[], w integer, n integer, now bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    s sessions;
    c record;
    r reply;
    nn integer;
    in_session boolean;
    place integer;
    has_changed boolean := false;
BEGIN
    r := first_answer(words[w + 1], 'settle', words[w + 2], now);
    IF r.outcome IS NOT NULL THEN
        RETURN false;
    END IF;
    IF words[w + 3] IS NOT NULL THEN
        s := live_session(words[w + 3], now);
    END IF;
    FOR i IN 1 .. numbers[n + 4] LOOP
        nn := n + i * 4;
        in_session := numbers[nn + 4] = 1;
        IF in_session THEN
            CONTINUE WHEN s.hash IS NULL;
            place := array_position(s.counter_keys, words[w + 3 + i]);
            SELECT s.counters[3 * place - 2] AS stored, s.counters[3 * place - 1] AS used,
                s.counters[3 * place] AS before, NULL::bigint AS kept_until INTO c;
        ELSE
            SELECT k.stored, k.used, k.before, k.kept_until INTO c FROM counters k WHERE k.key = words[w + 3 + i];
        END IF;
        c := adjusted(c.stored, c.used, c.before, c.kept_until, numbers[nn + 1], numbers[nn + 2]);
        CONTINUE WHEN c.stored IS NULL;
        IF in_session THEN
            has_changed := true;
            place := coalesce(place, cardinality(s.counter_keys) + 1, 1);
            s.counter_keys[place] := words[w + 3 + i];
            s.counters[3 * place - 2 : 3 * place] := ARRAY[c.stored, c.used, c.before];
        ELSE
            PERFORM put_counter(words[w + 3 + i], c.stored, c.used, c.before, numbers[nn + 3], c.kept_until);
        END IF;
    END LOOP;
    IF has_changed THEN
        UPDATE sessions q SET counter_keys = s.counter_keys, counters = s.counters WHERE q.hash = s.hash;
    END IF;
    r.outcome := 'settled';
    PERFORM keep_answer(words[w + 1], 'settle', words[w + 2], r, now);
    RETURN true;
END $$;

-- A counter after `cost` was added or given back in the window where it was charged; no `stored`: nothing to adjust.
CREATE OR REPLACE FUNCTION adjusted(
    INOUT stored bigint, INOUT used bigint, INOUT before bigint, INOUT kept_until bigint, charged bigint, cost bigint
) LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF stored IS NULL OR stored < charged THEN
        IF stored IS NULL AND cost <= 0 THEN
            RETURN;
        END IF;
        before := CASE WHEN stored = charged - 1 THEN used ELSE 0 END;
        stored := charged;
        used := clamped(cost);
    ELSIF stored = charged THEN
        used := clamped(used + cost);
    ELSIF stored = charged + 1 THEN
        before := clamped(before + cost);
    ELSE
        stored := NULL;
    END IF;
END $$;

-- Words: 1 operation, 2 hash or none, then the leases; numbers: 4 until.
CREATE OR REPLACE FUNCTION book_renewed(words bytea[], numbers bigint[], w integer, n integer, now bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    s sessions;
BEGIN
    FOR i IN w + 3 .. w + numbers[n + 1] LOOP
        PERFORM hold_lease(words[i], words[w + 1], numbers[n + 4]);
    END LOOP;
    IF words[w + 2] IS NULL THEN
        RETURN true;
    END IF;
    s := live_session(words[w + 2], now);
    IF s.hash IS NULL THEN
        RETURN false;
    END IF;
    PERFORM keep_open(s, words[w + 1], numbers[n + 4], now);
    RETURN true;
END $$;

-- Words: 1 operation, 2 hash or none, then the leases.
CREATE OR REPLACE FUNCTION book_released(words bytea[], numbers bigint[], w integer, n integer, now bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    s sessions;
    until_at bigint;
    released boolean := false;
BEGIN
    FOR i IN w + 3 .. w + numbers[n + 1] LOOP
        DELETE FROM leases h WHERE h.key = words[i] AND h.operation = words[w + 1] RETURNING h.until INTO until_at;
        released := released OR coalesce(until_at > now, false);
    END LOOP;
    IF words[w + 2] IS NOT NULL THEN
        s := live_session(words[w + 2], now);
        until_at := s.open_until[array_position(s.open_operations, words[w + 1])];
        IF until_at IS NOT NULL THEN
            released := released OR until_at > now;
            PERFORM keep_open(s, words[w + 1], NULL, now);
        END IF;
    END IF;
    RETURN released;
END $$;

-- Say until when an operation keeps a session open; no instant: it does not any more.
CREATE OR REPLACE FUNCTION keep_open(s sessions, operation bytea, open_to bigint, now bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    SELECT array_agg(o.named), array_agg(o.until) INTO s.open_operations, s.open_until
        FROM (
            SELECT u.named, u.until FROM unnest(s.open_operations, s.open_until) AS u (named, until)
                WHERE u.until > now AND u.named <> operation
            UNION ALL SELECT operation, open_to WHERE open_to IS NOT NULL
        ) AS o;
    UPDATE sessions q SET open_operations = s.open_operations, open_until = s.open_until WHERE q.hash = s.hash;
END $$;

CREATE OR REPLACE FUNCTION acknowledge(receipt bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM ended e WHERE e.number = receipt;
    RETURN FOUND;
END $$;

-- The place tells apart equal events of one transaction, of which PostgreSQL would tell only one.
CREATE OR REPLACE FUNCTION interrupt(asked bytea, at bigint, place integer, now bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF (live_session(asked, now)).hash IS NULL THEN
        RETURN false;
    END IF;
    PERFORM publish('I' || encode(asked, 'hex') || '00' || at || ':' || place);
    RETURN true;
END $$;
