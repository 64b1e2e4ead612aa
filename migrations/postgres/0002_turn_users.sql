-- Long-term users of the TURN server (RFC 8489 §9.2): the key that MESSAGE-INTEGRITY is made
-- with, MD5(name:realm:password), never the password.
CREATE TABLE turn_users (
    realm      text        NOT NULL,
    name       text        NOT NULL,
    key        bytea       NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (realm, name)
);
