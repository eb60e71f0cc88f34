-- The counters and lease sets that outlive sessions. What is collected meanwhile was worth nothing.

-- Write a counter that was found to be kept until an instant, or was not found (NULL).
CREATE OR REPLACE FUNCTION put_counter(
    counter_key bytea, now_stored bigint, now_used bigint, now_before bigint, stale_at bigint, found_until bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF found_until IS NOT NULL THEN
        UPDATE counters c SET
            stored = now_stored, used = now_used, before = now_before, kept_until = kept_for(stale_at, found_until)
            WHERE c.key = counter_key;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    INSERT INTO counters AS c (key, stored, used, before, kept_until)
        VALUES (counter_key, now_stored, now_used, now_before, stale_at + 600000)
        ON CONFLICT (key) DO UPDATE SET
            stored = excluded.stored, used = excluded.used, before = excluded.before, kept_until = excluded.kept_until;
END $$;

-- Those that ran out count no more, and wait for `collect`.
CREATE OR REPLACE FUNCTION hold_lease(lease_key bytea, holder bytea, held_until bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO leases (key, operation, until) VALUES (lease_key, holder, held_until)
        ON CONFLICT (key, operation) DO UPDATE SET until = excluded.until;
END $$;
