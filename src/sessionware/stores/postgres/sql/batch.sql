-- Admissions that travel together are decided one after the other, each as if it had come alone.

-- `numbers` begin with how many links come first among the words: sessions that are asked for by their link alone.
CREATE OR REPLACE FUNCTION admit_batch(locks bigint[], words bytea[], numbers bigint[], max_skew bigint)
RETURNS SETOF reply LANGUAGE plpgsql AS $$
DECLARE
    w integer := numbers[1];
    n integer := 1;
    question integer := 0;
    behind bytea[]; -- the sessions behind those links
    store_now bigint := store_time(); -- before the locks are waited for
    r reply;
BEGIN
    IF w > 0 THEN
        behind := sessions_behind(words[1 : w]);
        locks := ARRAY(
            SELECT each FROM unnest(locks) AS each UNION SELECT lock_of(hash) FROM unnest(behind) AS hash ORDER BY each);
    END IF;
    PERFORM pg_advisory_xact_lock(each) FROM unnest(locks) AS each;
    IF w > 0 AND behind <> sessions_behind(words[1 : w]) THEN
        RAISE EXCEPTION 'a link moved before its session was locked'
            USING ERRCODE = 'SW001', DETAIL = locks[1]::text;
    END IF;
    WHILE n < cardinality(numbers) LOOP
        IF max_skew > 0 AND abs(numbers[n + 3] - store_now) > max_skew THEN
            r := skew_reply(store_now);
        ELSE
            r := admit_one(words, numbers, w, n);
        END IF;
        r.at := question;
        RETURN NEXT r;
        IF r.ends IS NOT NULL THEN
            RETURN QUERY SELECT * FROM handed_over(r.ends, question);
        END IF;
        w := w + numbers[n + 1];
        n := n + numbers[n + 2];
        question := question + 1;
    END LOOP;
END $$;

-- How the session under a key ended, if the caller may know; one that is not swept yet is no different.
CREATE OR REPLACE FUNCTION why_gone(asked bytea, caller bytea, now bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    f record;
    why text;
BEGIN
    SELECT s.owner, s.by_id, s.expires_at, s.created_at INTO f FROM sessions s WHERE s.hash = asked;
    IF FOUND THEN
        IF now >= f.expires_at THEN
            why := 'expired';
        ELSIF f.created_at <= not_before_of(f.owner) THEN
            why := 'revoked';
        END IF;
    ELSE
        SELECT t.owner, t.by_id, t.reason INTO f FROM tombstones t WHERE t.hash = asked AND t.until > now;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
        why := f.reason;
    END IF;
    IF (caller IS NULL AND f.by_id) OR caller = f.owner THEN
        RETURN why;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION sessions_behind(asked bytea[]) RETURNS bytea[] LANGUAGE plpgsql AS $$
BEGIN
    RETURN ARRAY(SELECT l.session FROM links l WHERE l.hash = ANY (asked) ORDER BY l.hash);
END $$;
