-- The one way in which a session ends: its levels released, its end told and kept until somebody acknowledges it.

CREATE OR REPLACE FUNCTION add_level(level_key bytea, change bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    standing bigint;
BEGIN
    SELECT c.used INTO standing FROM counters c WHERE c.key = level_key;
    IF coalesce(standing, 0) + change > 0 THEN
        INSERT INTO counters AS c (key, stored, used, before, kept_until)
            VALUES (level_key, 0, coalesce(standing, 0) + change, 0, 9007199254740991)
            ON CONFLICT (key) DO UPDATE SET
                stored = 0, used = excluded.used, before = 0, kept_until = excluded.kept_until;
    ELSE
        DELETE FROM counters c WHERE c.key = level_key;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION count_bindings(bound_pools bytea[], bound_upstreams bytea[], by bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF bound_pools IS NOT NULL THEN
        INSERT INTO counts (pool, upstream, change)
            SELECT p, u, by FROM unnest(bound_pools, bound_upstreams) AS bound (p, u);
    END IF;
END $$;

-- Remember why a key's session ended, for its owner, for a while.
CREATE OR REPLACE FUNCTION bury(s sessions, why text, now bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tombstones AS t (hash, reason, owner, by_id, until)
        VALUES (s.hash, why, s.owner, s.by_id, now + least(nullif(s.idle, 0), 3600000))
        ON CONFLICT (hash) DO UPDATE SET
            reason = excluded.reason, owner = excluded.owner, by_id = excluded.by_id, until = excluded.until;
    PERFORM publish('G' || encode(s.hash, 'hex') || '00' || why);
END $$;

-- The record as the client reads it, without payload and links.
CREATE OR REPLACE FUNCTION shown(s sessions, became text) RETURNS reply
LANGUAGE plpgsql STABLE AS $$
DECLARE
    r reply;
BEGIN
    r.outcome := became;
    r.hash := s.hash;
    r.birth := s.birth;
    r.idle := s.idle;
    r.absolute_at := s.absolute_at;
    r.expires_at := s.expires_at;
    r.seen_at := s.seen_at;
    r.hits := s.hits;
    r.revision := s.revision;
    r.limit_names := s.limit_names;
    r.limit_values := s.limit_values;
    r.pools := s.pools;
    r.upstreams := s.upstreams;
    RETURN r;
END $$;

-- The same with its links, in the order in which they came.
CREATE OR REPLACE FUNCTION with_links(r reply) RETURNS reply
LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT array_agg(l.hash ORDER BY l.number), array_agg(l.body ORDER BY l.number),
            array_agg(l.seen_at ORDER BY l.number), array_agg(l.handshake ORDER BY l.number)
        INTO r.link_hashes, r.link_bodies, r.link_seen, r.link_handshakes
        FROM links l WHERE l.session = r.hash;
    RETURN r;
END $$;

CREATE OR REPLACE FUNCTION shown_link(l links, became text) RETURNS reply
LANGUAGE plpgsql STABLE AS $$
DECLARE
    r reply;
BEGIN
    r.outcome := became;
    r.hash := l.session;
    r.link_hashes := ARRAY[l.hash];
    r.link_bodies := ARRAY[l.body];
    r.link_seen := ARRAY[l.seen_at];
    r.link_handshakes := ARRAY[l.handshake];
    RETURN r;
END $$;

-- End a session whose lock is held; answers the receipt, or NULL when it has gone.
CREATE OR REPLACE FUNCTION end_session(gone bytea, why text, now bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    s sessions;
    r reply;
    hold bytea;
    receipt bigint;
BEGIN
    DELETE FROM sessions d WHERE d.hash = gone RETURNING d.* INTO s;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    r := with_links(shown(s, 'ended'));
    r.reason := why;
    r.moment := now;
    DELETE FROM payloads p WHERE p.hash = gone RETURNING p.metadata, p.data INTO r.metadata, r.data;
    IF r.link_hashes IS NOT NULL THEN
        DELETE FROM links l WHERE l.session = gone;
    END IF;
    IF s.context_count > 0 OR s.events_count > 0 THEN
        DELETE FROM logs g WHERE g.session = gone;
    END IF;
    IF s.holds IS NOT NULL THEN
        FOREACH hold IN ARRAY s.holds LOOP
            PERFORM want_lock(hold);
            PERFORM add_level(hold, -1);
        END LOOP;
    END IF;
    INSERT INTO counts (change) VALUES (-1);
    PERFORM count_bindings(s.pools, s.upstreams, -1);
    PERFORM bury(s, why, now);
    INSERT INTO ended (ended_at, claimed_until, answer) VALUES (now, now + 30000, r) RETURNING number INTO receipt;
    RETURN receipt;
END $$;

-- The ends behind receipts, as they are handed over.
CREATE OR REPLACE FUNCTION handed_over(receipts bigint[], question integer) RETURNS SETOF reply
LANGUAGE plpgsql AS $$
DECLARE
    r reply;
    receipt bigint;
BEGIN
    FOREACH receipt IN ARRAY receipts LOOP
        SELECT (e.answer).* INTO r FROM ended e WHERE e.number = receipt;
        r.at := question;
        r.number := receipt;
        RETURN NEXT r;
    END LOOP;
END $$;
