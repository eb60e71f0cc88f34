-- What says whose schema this is. The version is written with the schema, the salt by the first worker that starts.

CREATE TABLE schema_version (
    one integer PRIMARY KEY CHECK (one = 1),
    version integer NOT NULL
);

CREATE TABLE installation (
    one integer PRIMARY KEY CHECK (one = 1),
    salt bytea NOT NULL CHECK (length(salt) = 32),
    buckets integer NOT NULL
);
