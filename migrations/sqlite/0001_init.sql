-- Login accounts: SCRAM keys (RFC 5802), never a password. Times are Unix milliseconds.
CREATE TABLE accounts (
    username          TEXT    NOT NULL,
    host              TEXT    NOT NULL,
    salt              BLOB    NOT NULL,
    iterations        INTEGER NOT NULL,
    sha1_stored_key   BLOB    NOT NULL,
    sha1_server_key   BLOB    NOT NULL,
    sha256_stored_key BLOB    NOT NULL,
    sha256_server_key BLOB    NOT NULL,
    is_host           INTEGER NOT NULL CHECK (is_host IN (0, 1)),
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    PRIMARY KEY (host, username)
) STRICT, WITHOUT ROWID;

-- Small facts of the whole installation that must outlive the process.
CREATE TABLE settings (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
