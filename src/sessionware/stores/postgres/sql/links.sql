-- Legacy MCP sessions inside our sessions. Handshakes stay sealed here.

-- Put a link into its session. Words: 1 operation, 2 owner, 3 session, 4 hash, 5 body, 6 handshake;
-- numbers: 1 now, 2 seen_at, 3 at most.
CREATE OR REPLACE FUNCTION put_link(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    before bytea;
    link links;
    others bigint;
    r reply;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    PERFORM take_locks(locks);
    r := first_answer(words[2], 'link', words[1], now);
    IF r.outcome IS NOT NULL THEN
        RETURN NEXT r;
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM sessions q WHERE q.hash = words[3] AND q.expires_at > now) THEN
        r.outcome := 'missing';
        RETURN NEXT r;
        RETURN;
    END IF;
    SELECT l.session INTO before FROM links l WHERE l.hash = words[4];
    IF before <> words[3] THEN
        PERFORM want_lock(before);
    END IF;
    INSERT INTO links AS l (hash, session, seen_at, body, handshake)
        VALUES (words[4], words[3], numbers[2], words[5], words[6])
        ON CONFLICT (hash) DO UPDATE SET
            session = excluded.session, seen_at = excluded.seen_at, body = excluded.body,
            handshake = excluded.handshake
        RETURNING l.* INTO link;
    r := shown_link(link, 'linked');
    PERFORM keep_answer(words[2], 'link', words[1], r, now);
    RETURN NEXT r;
    IF before = words[3] THEN
        RETURN;
    END IF;
    SELECT count(*) - 1 INTO others FROM links l WHERE l.session = words[3];
    FOR link IN
        SELECT l.* FROM links l WHERE l.session = words[3] AND l.hash <> words[4]
            ORDER BY l.seen_at, l.hash LIMIT greatest(others + 1 - numbers[3], 0)
    LOOP
        DELETE FROM links l WHERE l.hash = link.hash;
        RETURN NEXT shown_link(link, 'unlinked');
    END LOOP;
END $$;

-- End a link; an unnamed session ends with its last one. Words: 1 hash; numbers: 1 now.
CREATE OR REPLACE FUNCTION unlink(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[1];
    link links;
    s sessions;
BEGIN
    IF skewed(now, max_skew) IS NOT NULL THEN
        RETURN NEXT skew_reply(skewed(now, max_skew));
        RETURN;
    END IF;
    PERFORM take_locks_to_end(locks, ARRAY(SELECT l.session FROM links l WHERE l.hash = words[1]));
    PERFORM want_lock(l.session) FROM links l WHERE l.hash = words[1];
    SELECT l.* INTO link FROM links l WHERE l.hash = words[1];
    SELECT q.* INTO s FROM sessions q WHERE q.hash = link.session AND q.expires_at > now;
    IF s.hash IS NULL THEN
        RETURN;
    END IF;
    DELETE FROM links l WHERE l.hash = words[1];
    RETURN NEXT shown_link(link, 'unlinked');
    IF NOT s.is_named AND NOT EXISTS (SELECT FROM links l WHERE l.session = s.hash) THEN
        RETURN QUERY SELECT * FROM handed_over(ARRAY[end_session(s.hash, 'ended', now)], 0);
    END IF;
END $$;

-- An admission's answer with the link that it came by, touched if the request was an activity.
CREATE OR REPLACE FUNCTION with_link(r reply, link links, touch boolean, now bigint) RETURNS reply
LANGUAGE plpgsql AS $$
BEGIN
    IF touch AND now > link.seen_at THEN
        link.seen_at := now;
        UPDATE links l SET seen_at = now WHERE l.hash = link.hash;
    END IF;
    r.link_hashes := ARRAY[link.hash];
    r.link_bodies := ARRAY[link.body];
    r.link_seen := ARRAY[link.seen_at];
    r.link_handshakes := ARRAY[link.handshake];
    RETURN r;
END $$;
