-- Long-term users of the TURN server (RFC 8489 §9.2): the key that MESSAGE-INTEGRITY is made
-- with, MD5(name:realm:password), never the password. Times are Unix milliseconds.
CREATE TABLE turn_users (
    realm      TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    key        BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (realm, name)
) STRICT, WITHOUT ROWID;
