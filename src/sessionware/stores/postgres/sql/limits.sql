-- Other allowances for a session, an owner or an organisation.

-- The overrides after some were set or taken back (no allowance); those that ran out are dropped.
CREATE OR REPLACE FUNCTION overridden(
    INOUT names bytea[], INOUT overrides bigint[], changed bytea[], allowances bigint[], until_at bigint, now bigint
) LANGUAGE plpgsql AS $$
DECLARE
    kept_names bytea[];
    kept bigint[];
BEGIN
    FOR i IN 1 .. coalesce(cardinality(names), 0) LOOP
        IF now < overrides[2 * i] AND names[i] <> ALL (changed) THEN
            kept_names := array_append(kept_names, names[i]);
            kept := kept || overrides[2 * i - 1 : 2 * i];
        END IF;
    END LOOP;
    FOR i IN 1 .. cardinality(changed) LOOP
        IF allowances[i] IS NOT NULL THEN
            kept_names := array_append(kept_names, changed[i]);
            kept := kept || ARRAY[allowances[i], until_at];
        END IF;
    END LOOP;
    names := kept_names;
    overrides := kept;
END $$;

-- Words: 1 whom (session, user, org), 2 hash, owner or org, then the names; numbers: 4 until, then per name its
-- allowance or none.
CREATE OR REPLACE FUNCTION book_limits(words bytea[], numbers bigint[], w integer, n integer, now bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    whom text := convert_from(words[w + 1], 'UTF8');
    whose bytea := words[w + 2];
    changed bytea[] := words[w + 3 : w + numbers[n + 1]::integer];
    allowances bigint[] := (numbers[n + 5 : n + numbers[n + 2]::integer])[:];
    s record;
BEGIN
    IF whom = 'session' THEN
        SELECT q.limit_names, q.limit_values INTO s FROM sessions q WHERE q.hash = whose AND q.expires_at > now;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
    ELSIF whom = 'user' THEN
        SELECT o.limit_names, o.limit_values INTO s FROM owners o WHERE o.owner = whose;
    ELSE
        SELECT o.limit_names, o.limit_values INTO s FROM orgs o WHERE o.org = whose;
    END IF;
    s := overridden(s.limit_names, s.limit_values, changed, allowances, numbers[n + 4], now);
    IF whom = 'session' THEN
        UPDATE sessions q SET limit_names = s.names, limit_values = s.overrides, revision = q.revision + 1
            WHERE q.hash = whose;
    ELSIF whom = 'user' THEN
        INSERT INTO owners AS o (owner, not_before, limit_names, limit_values) VALUES (whose, -1, s.names, s.overrides)
            ON CONFLICT (owner) DO UPDATE SET limit_names = excluded.limit_names, limit_values = excluded.limit_values;
    ELSE
        INSERT INTO orgs AS o (org, limit_names, limit_values) VALUES (whose, s.names, s.overrides)
            ON CONFLICT (org) DO UPDATE SET limit_names = excluded.limit_names, limit_values = excluded.limit_values;
        PERFORM publish('W' || encode(whose, 'hex'));
    END IF;
    RETURN true;
END $$;
