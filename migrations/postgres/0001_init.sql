-- Login accounts: SCRAM keys (RFC 5802), never a password.
CREATE TABLE accounts (
    username          text        NOT NULL,
    host              text        NOT NULL,
    salt              bytea       NOT NULL,
    iterations        integer     NOT NULL,
    sha1_stored_key   bytea       NOT NULL,
    sha1_server_key   bytea       NOT NULL,
    sha256_stored_key bytea       NOT NULL,
    sha256_server_key bytea       NOT NULL,
    is_host           boolean     NOT NULL,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    PRIMARY KEY (host, username)
);

-- Small facts of the whole installation that must outlive the process.
CREATE TABLE settings (
    key   text NOT NULL PRIMARY KEY,
    value text NOT NULL
);
