-- Giving a session a new birth: everything sealed must be sealed anew by the client, so it is read first.

-- The session with its payload and revision, then each log item with its log. Words: 1 hash; numbers: 1 now.
CREATE OR REPLACE FUNCTION read_for_move(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    s sessions;
    r reply;
    item record;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    PERFORM take_locks(locks);
    SELECT q.* INTO s FROM sessions q WHERE q.hash = words[1] AND q.expires_at > now;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    r := shown(s, 'found');
    SELECT p.metadata, p.data INTO r.metadata, r.data FROM payloads p WHERE p.hash = words[1];
    r.tallies := ARRAY[s.context_count, s.events_count];
    RETURN NEXT r;
    r := NULL;
    FOR item IN SELECT g.log, g.item FROM logs g WHERE g.session = words[1] ORDER BY g.log, g.number LOOP
        r.outcome := item.log;
        r.data := item.item;
        RETURN NEXT r;
    END LOOP;
END $$;

-- Words: 1 old hash, then the new session (making.sql), then the items of context and of events. Numbers: 1 now,
-- 2 revision, 3 and 4 how often was added to context and events, 5 links end, 6 and 7 how many items of each, then the
-- new session. Of that only the birth and the payload count: the rest is as it stands.
CREATE OR REPLACE FUNCTION move_session(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    born newborn := read_newborn(words, numbers, 1, 7);
    fresh sessions := born.session;
    s sessions;
    link links;
    room record;
    ends bigint[];
    first integer := cardinality(words) - numbers[6] - numbers[7];
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
    ELSIF s.revision <> numbers[2] THEN
        r.outcome := 'conflict';
        r.number := s.revision;
    ELSIF s.context_count <> numbers[3] OR s.events_count <> numbers[4] THEN
        r.outcome := 'again';
    ELSIF EXISTS (SELECT FROM sessions q WHERE q.hash = fresh.hash AND q.expires_at > now) THEN
        r.outcome := 'exists';
    ELSE
        room := room_for(born, s.hash, now);
        r.outcome := CASE WHEN room.full_name IS NULL THEN 'moved' ELSE 'full' END;
    END IF;
    IF r.outcome <> 'moved' THEN
        RETURN NEXT r;
        RETURN;
    END IF;
    fresh.idle := s.idle;
    fresh.absolute_at := s.absolute_at;
    fresh.expires_at := s.expires_at;
    fresh.seen_at := s.seen_at;
    fresh.hits := s.hits;
    fresh.revision := s.revision;
    fresh.indexed_at := s.indexed_at;
    fresh.context_count := s.context_count;
    fresh.events_count := s.events_count;
    fresh.holds := s.holds;
    fresh.limit_names := s.limit_names;
    fresh.limit_values := s.limit_values;
    fresh.pools := s.pools;
    fresh.upstreams := s.upstreams;
    fresh.counter_keys := s.counter_keys;
    fresh.counters := s.counters;
    fresh.open_operations := s.open_operations;
    fresh.open_until := s.open_until;
    born.session := fresh;
    DELETE FROM sessions q WHERE q.hash = s.hash;
    DELETE FROM payloads p WHERE p.hash = s.hash;
    DELETE FROM logs g WHERE g.session = s.hash;
    PERFORM bury(s, 'rotated', now);
    ends := make(born, room.hashes, room.reasons, now);
    INSERT INTO counts (change) VALUES (-1);
    PERFORM count_bindings(s.pools, s.upstreams, -1);
    INSERT INTO logs (session, log, number, item)
        SELECT fresh.hash, 'context', s.context_count - numbers[6] + i.number, i.item
            FROM unnest(words[first + 1 : first + numbers[6]::integer]) WITH ORDINALITY AS i (item, number);
    INSERT INTO logs (session, log, number, item)
        SELECT fresh.hash, 'events', s.events_count - numbers[7] + i.number, i.item
            FROM unnest(words[first + 1 + numbers[6]::integer :]) WITH ORDINALITY AS i (item, number);
    IF numbers[5] = 0 THEN
        UPDATE links l SET session = fresh.hash WHERE l.session = s.hash;
    END IF;
    r := shown(fresh, 'moved');
    r.metadata := born.metadata;
    r.data := born.data;
    RETURN NEXT r;
    FOR link IN SELECT l.* FROM links l WHERE l.session = s.hash ORDER BY l.number LOOP
        RETURN NEXT shown_link(link, 'unlinked');
    END LOOP;
    DELETE FROM links l WHERE l.session = s.hash;
    IF ends IS NOT NULL THEN
        RETURN QUERY SELECT * FROM handed_over(ends, 0);
    END IF;
END $$;
