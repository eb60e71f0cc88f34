-- One session: made, read, changed, ended.

-- Words: 1 operation, then the new session (making.sql); numbers: 1 now, then the new session.
CREATE OR REPLACE FUNCTION create_session(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    born newborn := read_newborn(words, numbers, 1, 1);
    fresh sessions := born.session;
    standing sessions;
    room record;
    ends bigint[];
    r reply;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    PERFORM take_locks(locks);
    r := first_answer(fresh.owner, 'create', words[1], now);
    IF r.outcome IS NOT NULL THEN
        RETURN NEXT r;
        RETURN;
    END IF;
    SELECT q.* INTO standing FROM sessions q WHERE q.hash = fresh.hash;
    IF FOUND AND now < standing.expires_at THEN
        IF standing.owner = fresh.owner THEN
            RETURN NEXT shown(standing, 'exists');
        ELSE
            r.outcome := 'exists';
            RETURN NEXT r;
        END IF;
        RETURN;
    END IF;
    r.ends := sweep_for_levels(born, now);
    room := room_for(born, NULL, now);
    IF room.full_name IS NOT NULL THEN
        r.outcome := 'full';
        r.full_name := room.full_name;
    ELSE
        ends := r.ends || make(born, room.hashes, room.reasons, now);
        r := shown(fresh, 'created');
        PERFORM keep_answer(fresh.owner, 'create', words[1], r, now);
        r.ends := ends;
        r.number := 1; -- this call has made it
    END IF;
    RETURN NEXT r;
    IF r.ends IS NOT NULL THEN
        RETURN QUERY SELECT * FROM handed_over(r.ends, 0);
    END IF;
END $$;

-- Words: 1 hash; numbers: 1 now. STABLE: all that it reads is of one instant.
CREATE OR REPLACE FUNCTION get_session(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
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
    SELECT q.* INTO s FROM sessions q WHERE q.hash = words[1] AND q.expires_at > now;
    IF FOUND THEN
        r := with_links(shown(s, 'found'));
        SELECT p.metadata, p.data INTO r.metadata, r.data FROM payloads p WHERE p.hash = words[1];
        RETURN NEXT r;
    END IF;
END $$;

-- Compare and set on the revision; counts as activity. Words: 1 hash, 2 metadata, 3 data (none: it stays);
-- numbers: 1 now, 2 revision, 3 idle, 4 absolute_at.
CREATE OR REPLACE FUNCTION update_session(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    s sessions;
    r reply;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    PERFORM take_locks(locks);
    SELECT q.* INTO s FROM sessions q WHERE q.hash = words[1] AND q.expires_at > now;
    IF NOT FOUND THEN
        r.outcome := 'missing';
        RETURN NEXT r;
        RETURN;
    ELSIF s.revision <> numbers[2] THEN
        r.outcome := 'conflict';
        r.number := s.revision;
        RETURN NEXT r;
        RETURN;
    END IF;
    s.idle := numbers[3];
    s.absolute_at := numbers[4];
    s.seen_at := greatest(now, s.seen_at);
    s.expires_at := deadline(s.seen_at, s.idle, s.absolute_at);
    s.revision := s.revision + 1;
    IF index_lags(s.expires_at, s.indexed_at, s.idle) THEN
        s.indexed_at := s.expires_at;
    END IF;
    UPDATE sessions q SET idle = s.idle, absolute_at = s.absolute_at, seen_at = s.seen_at, expires_at = s.expires_at,
            revision = s.revision, indexed_at = s.indexed_at
        WHERE q.hash = s.hash;
    r := shown(s, 'updated');
    IF words[2] IS NOT NULL OR words[3] IS NOT NULL THEN
        UPDATE payloads p SET metadata = coalesce(words[2], p.metadata), data = coalesce(words[3], p.data)
            WHERE p.hash = s.hash;
    END IF;
    SELECT p.metadata, p.data INTO r.metadata, r.data FROM payloads p WHERE p.hash = s.hash;
    RETURN NEXT r;
END $$;

-- Move the binding in a pool if it still is what the caller saw. Words: 1 hash, 2 pool, 3 was, 4 to (none: no binding);
-- numbers: 1 now.
CREATE OR REPLACE FUNCTION rebind(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    s sessions;
    place integer;
    r reply;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    PERFORM take_locks(locks);
    SELECT q.* INTO s FROM sessions q WHERE q.hash = words[1] AND q.expires_at > now;
    IF NOT FOUND THEN
        r.outcome := 'missing';
        RETURN NEXT r;
        RETURN;
    END IF;
    r.outcome := 'bound';
    place := array_position(s.pools, words[2]);
    r.full_name := s.upstreams[place];
    IF r.full_name IS NOT DISTINCT FROM words[3] THEN
        r.full_name := words[4];
        IF place IS NOT NULL THEN
            PERFORM count_bindings(ARRAY[words[2]], ARRAY[s.upstreams[place]], -1);
            s.pools := s.pools[: place - 1] || s.pools[place + 1 :];
            s.upstreams := s.upstreams[: place - 1] || s.upstreams[place + 1 :];
        END IF;
        IF words[4] IS NOT NULL THEN
            PERFORM count_bindings(ARRAY[words[2]], ARRAY[words[4]], 1);
            s.pools := s.pools || words[2];
            s.upstreams := s.upstreams || words[4];
        END IF;
        UPDATE sessions q SET pools = nullif(s.pools, '{}'), upstreams = nullif(s.upstreams, '{}')
            WHERE q.hash = s.hash;
    END IF;
    RETURN NEXT r;
END $$;

-- End a live session; exactly one of many callers gets it. Words: 1 hash, 2 reason; numbers: 1 now.
CREATE OR REPLACE FUNCTION delete_session(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    PERFORM take_locks_to_end(locks, ARRAY[words[1]]);
    IF EXISTS (SELECT FROM sessions q WHERE q.hash = words[1] AND q.expires_at > now) THEN
        RETURN QUERY SELECT * FROM handed_over(
            ARRAY[end_session(words[1], convert_from(words[2], 'UTF8'), now)], 0);
    END IF;
END $$;
