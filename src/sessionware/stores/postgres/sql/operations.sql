-- First answers by owner, kind of call and operation id: kept 300 s, 1024 per owner. Under the owner's lock.

CREATE OR REPLACE FUNCTION first_answer(whose bytea, which text, named bytea, now bigint) RETURNS reply
LANGUAGE plpgsql AS $$
DECLARE
    kept reply;
BEGIN
    SELECT (o.answer).* INTO kept FROM operations o
        WHERE o.owner = whose AND o.kind = which AND o.operation = named AND o.until > now;
    RETURN kept;
END $$;

CREATE OR REPLACE FUNCTION keep_answer(whose bytea, which text, named bytea, kept reply, now bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    newest bigint;
BEGIN
    kept.ends := NULL;
    kept.metadata := NULL; -- a repeated answer may leave the payload behind
    kept.data := NULL;
    DELETE FROM operations o WHERE o.owner = whose AND o.kind = which AND o.operation = named;
    SELECT coalesce(max(o.number), 0) + 1 INTO newest FROM operations o WHERE o.owner = whose;
    INSERT INTO operations (owner, number, kind, operation, until, answer)
        VALUES (whose, newest, which, named, now + 300000, kept);
    IF newest > 1024 THEN
        DELETE FROM operations o WHERE o.owner = whose AND o.number <= newest - 1024;
    END IF;
END $$;
