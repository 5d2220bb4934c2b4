-- Users, as answers name them. Portable between SQLite and PostgreSQL: no dialect, no sequence, no float.
--
-- An id is text. One that is a whole number of 0 … 2^53-1 has that number beside it, any other has 2^63-1 there, so
-- that ORDER BY id_number, user_id is "lower id" (whole numbers first, by value; then texts, by bytes: on PostgreSQL
-- with COLLATE "C") and is served by one index.
CREATE TABLE users (
    user_id   TEXT   NOT NULL PRIMARY KEY CHECK (LENGTH(user_id) BETWEEN 1 AND 64),
    id_number BIGINT NOT NULL DEFAULT 9223372036854775807
        CHECK (id_number = 9223372036854775807
            OR (id_number BETWEEN 0 AND 9007199254740991 AND CAST(id_number AS TEXT) = user_id)),
    user_name TEXT   NOT NULL,
    email     TEXT
);

CREATE INDEX users_by_id ON users (id_number, user_id);
