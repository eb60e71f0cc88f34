-- One admission (core/admission.py), under the locks of all that it names. Words: 1 operation, 2 owner, 3 hash, 4 link,
-- 5 token, 6 pool, 7 upstream, then key and limit of each spend and of each lease, then the new session (making.sql).
-- Numbers: 1 and 2 how many words and numbers, 3 now, 4 flags, 5 issued_at, 6 lease until, 7 spends, 8 leases, then per
-- spend window, carry, cost, allowance, mode, stale_at, per lease allowance and binding, then the new session.

CREATE OR REPLACE FUNCTION admit_one(words bytea[], numbers bigint[], w integer, n integer) RETURNS reply
LANGUAGE plpgsql AS $$
DECLARE
    now bigint := numbers[n + 3];
    flags bigint := numbers[n + 4];
    touch boolean := flags & 1 > 0;
    wants_data boolean := flags & 2 > 0;
    once boolean := flags & 8 > 0;
    spends integer := numbers[n + 7];
    leases integer := numbers[n + 8];
    caller bytea := words[w + 2];
    asked bytea := words[w + 3];
    asked_link bytea := words[w + 4];
    token bytea := words[w + 5];
    named bytea := words[w + 1] || coalesce(asked, '') || coalesce(asked_link, '');
    id bytea := asked;
    link links;
    f record;
    r reply;
    first reply;
    s sessions;
    is_live boolean := false;
    is_new boolean := false;
    refused boolean := false;
    not_before bigint := -1;
    user_names bytea[];
    user_values bigint[];
    token_until bigint;
    c record;
    nn integer;
    ww integer;
    place integer;
    stored bigint;
    used bigint;
    before bigint;
    cost bigint;
    allowance bigint;
    level bigint;
    tallies bigint[];
    held bigint[];
    kept_until bigint[];
    running bigint;
    mine boolean;
    after bigint[];
    born newborn;
    room record;
    has_changed boolean;
BEGIN
    r.outcome := 'admitted';
    r.number := 0;
    r.moment := now;
    IF asked_link IS NOT NULL THEN
        SELECT l.* INTO link FROM links l WHERE l.hash = asked_link;
        IF NOT FOUND OR link.session <> asked THEN
            id := NULL;
        ELSE
            id := link.session;
        END IF;
    END IF;
    IF id IS NOT NULL THEN
        SELECT q AS session, o.not_before, o.limit_names, o.limit_values, t.until, p.metadata, p.data INTO f
            FROM sessions q
            LEFT JOIN owners o ON o.owner = q.owner
            LEFT JOIN tokens t ON t.hash = token
            LEFT JOIN payloads p ON wants_data AND p.hash = q.hash
            WHERE q.hash = id;
        IF FOUND THEN
            s := f.session;
            not_before := coalesce(f.not_before, -1);
            user_names := f.limit_names;
            user_values := f.limit_values;
            token_until := f.until;
            is_live := now < s.expires_at AND s.created_at > not_before;
        END IF;
    END IF;
    IF NOT is_live THEN
        s := NULL;
        SELECT o.not_before, o.limit_names, o.limit_values INTO not_before, user_names, user_values
            FROM owners o WHERE o.owner = caller;
        not_before := coalesce(not_before, -1);
        token_until := (SELECT t.until FROM tokens t WHERE t.hash = token);
    END IF;

    IF is_live THEN
        IF caller IS NULL AND NOT s.by_id THEN
            r.outcome := 'unknown';
            RETURN r;
        ELSIF caller <> s.owner THEN
            r.outcome := 'foreign';
            RETURN r;
        END IF;
    ELSIF asked_link IS NOT NULL OR (asked IS NOT NULL AND flags & 16 = 0) THEN
        r.outcome := 'unknown';
        IF asked IS NOT NULL THEN
            r.reason := why_gone(asked, caller, now);
        END IF;
        RETURN r;
    END IF;
    IF token IS NOT NULL AND (coalesce(token_until > now, false) OR numbers[n + 5] <= not_before) THEN
        r.outcome := 'revoked';
        RETURN r;
    END IF;

    -- A repeated operation gets its first answer, but only where it would be let in now, and about the same session.
    IF once THEN
        first := first_answer(coalesce(caller, ''), 'admit', named, now);
        IF first.outcome IS NOT NULL AND (first.birth IS NULL OR is_live) THEN
            RETURN first;
        END IF;
    END IF;

    -- Roll every counter, see whether every binding spend and lease fits.
    is_new := flags & 16 > 0 AND NOT is_live;
    FOR i IN 0 .. spends - 1 LOOP
        nn := n + 8 + i * 6;
        ww := w + 7 + i * 2;
        IF numbers[nn + 5] & 2 > 0 AND NOT is_new THEN -- counts only when a session is made
            tallies[i * 5 + 1] := 0;
            tallies[i * 5 + 5] := 2;
            CONTINUE;
        END IF;
        stored := NULL;
        IF numbers[nn + 5] & 4 > 0 THEN
            place := array_position(s.counter_keys, words[ww + 1]);
            IF place IS NOT NULL THEN
                stored := s.counters[3 * place - 2];
                used := s.counters[3 * place - 1];
                before := s.counters[3 * place];
            END IF;
        ELSE
            SELECT k.stored, k.used, k.before, k.kept_until INTO c FROM counters k WHERE k.key = words[ww + 1];
            IF FOUND THEN
                stored := c.stored;
                used := c.used;
                before := c.before;
                kept_until[i] := c.kept_until;
            END IF;
        END IF;
        IF stored IS NULL OR stored < numbers[nn + 1] - 1 THEN
            stored := numbers[nn + 1];
            used := 0;
            before := 0;
        ELSIF stored <> numbers[nn + 1] AND stored <> numbers[nn + 1] + 1 THEN
            stored := numbers[nn + 1];
            before := used;
            used := 0;
        END IF;
        level := used;
        IF before > 0 THEN
            level := used + before * CASE WHEN stored = numbers[nn + 1] THEN numbers[nn + 2] ELSE 1000000 END / 1000000;
        END IF;
        cost := numbers[nn + 3];
        allowance := numbers[nn + 4];
        IF s.limit_names IS NOT NULL OR user_names IS NOT NULL THEN
            allowance := coalesce(override_of(words[ww + 2], s.limit_names, s.limit_values, now),
                override_of(words[ww + 2], user_names, user_values, now), allowance);
        END IF;
        tallies[i * 5 + 1] := stored;
        tallies[i * 5 + 2] := used;
        tallies[i * 5 + 3] := before;
        tallies[i * 5 + 4] := allowance;
        IF cost >= 0 AND level + greatest(cost, 1) > allowance THEN
            tallies[i * 5 + 5] := 0;
            refused := refused OR numbers[nn + 5] & 1 > 0;
        ELSE
            tallies[i * 5 + 5] := 1;
        END IF;
    END LOOP;
    FOR i IN 0 .. leases - 1 LOOP
        nn := n + 8 + spends * 6 + i * 2;
        ww := w + 7 + spends * 2 + i * 2;
        SELECT count(*), coalesce(bool_or(h.operation = words[w + 1]), false) INTO running, mine
            FROM leases h WHERE h.key = words[ww + 1] AND h.until > now;
        allowance := coalesce(override_of(words[ww + 2], s.limit_names, s.limit_values, now),
            override_of(words[ww + 2], user_names, user_values, now), numbers[nn + 1]);
        held[i * 3 + 1] := running;
        held[i * 3 + 2] := allowance;
        held[i * 3 + 3] := (mine OR running < allowance)::integer;
        after[i] := running + (NOT mine)::integer;
        refused := refused OR (held[i * 3 + 3] = 0 AND numbers[nn + 2] = 1);
    END LOOP;
    r.tallies := tallies;
    r.leases := held;

    <<taking>>
    BEGIN
        IF refused THEN
            r.outcome := 'limited';
            EXIT taking;
        END IF;
        IF is_new THEN
            born := read_newborn(words, numbers, w + 7 + 2 * (spends + leases), n + 8 + 6 * spends + 2 * leases);
            r.ends := sweep_for_levels(born, now);
            room := room_for(born, NULL, now);
            IF room.full_name IS NOT NULL THEN
                r.outcome := 'full';
                r.full_name := room.full_name;
                RETURN r;
            END IF;
            s := born.session;
            s.hits := touch::integer;
            born.session := s;
            r.ends := r.ends || make(born, room.hashes, room.reasons, now);
            r.number := 1;
        END IF;

        -- Write.
        FOR i IN 0 .. spends - 1 LOOP
            nn := n + 8 + i * 6;
            ww := w + 7 + i * 2;
            cost := numbers[nn + 3];
            IF cost = 0 OR tallies[i * 5 + 5] = 2 THEN
                CONTINUE;
            END IF;
            stored := tallies[i * 5 + 1];
            used := clamped(tallies[i * 5 + 2] + cost);
            before := tallies[i * 5 + 3];
            tallies[i * 5 + 2] := used;
            IF numbers[nn + 5] & 4 = 0 THEN
                PERFORM put_counter(words[ww + 1], stored, used, before, numbers[nn + 6], kept_until[i]);
            ELSIF s.hash IS NOT NULL THEN
                has_changed := true;
                place := coalesce(array_position(s.counter_keys, words[ww + 1]), cardinality(s.counter_keys) + 1, 1);
                s.counter_keys[place] := words[ww + 1];
                s.counters[3 * place - 2 : 3 * place] := ARRAY[stored, used, before];
            END IF;
        END LOOP;
        FOR i IN 0 .. leases - 1 LOOP
            PERFORM hold_lease(words[w + 8 + spends * 2 + i * 2], words[w + 1], numbers[n + 6]);
            held[i * 3 + 1] := after[i];
        END LOOP;
        r.tallies := tallies;
        r.leases := held;
        IF s.hash IS NOT NULL THEN
            IF leases > 0 OR flags & 4 > 0 THEN
                has_changed := true;
                SELECT array_agg(o.named), array_agg(o.until) INTO s.open_operations, s.open_until
                    FROM unnest(s.open_operations || words[w + 1], s.open_until || numbers[n + 6]) AS o (named, until)
                    WHERE o.until > now AND (o.named <> words[w + 1] OR o.until = numbers[n + 6]);
            END IF;
            IF words[w + 6] IS NOT NULL AND array_position(s.pools, words[w + 6]) IS NULL THEN
                has_changed := true;
                s.pools := s.pools || words[w + 6];
                s.upstreams := s.upstreams || words[w + 7];
                INSERT INTO counts (pool, upstream, change) VALUES (words[w + 6], words[w + 7], 1);
            END IF;
            IF touch AND NOT is_new THEN
                has_changed := true;
                s.seen_at := greatest(now, s.seen_at);
                s.expires_at := deadline(s.seen_at, s.idle, s.absolute_at);
                s.hits := s.hits + 1;
                IF index_lags(s.expires_at, s.indexed_at, s.idle) THEN
                    s.indexed_at := s.expires_at;
                END IF;
            END IF;
            IF has_changed THEN
                UPDATE sessions q SET
                    expires_at = s.expires_at, seen_at = s.seen_at, hits = s.hits, indexed_at = s.indexed_at,
                    counter_keys = s.counter_keys, counters = s.counters, open_operations = s.open_operations,
                    open_until = s.open_until, pools = s.pools, upstreams = s.upstreams
                    WHERE q.hash = s.hash;
            END IF;
        END IF;
        IF link.hash IS NOT NULL THEN
            r := with_link(r, link, touch, now);
        END IF;
    END;

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
    IF wants_data AND is_new AND NOT refused THEN
        r.metadata := born.metadata;
        r.data := born.data;
    ELSIF wants_data AND s.hash IS NOT NULL THEN
        r.metadata := f.metadata;
        r.data := f.data;
    END IF;
    IF once AND NOT refused THEN
        PERFORM keep_answer(coalesce(caller, ''), 'admit', named, r, now);
    END IF;
    RETURN r;
END $$;
