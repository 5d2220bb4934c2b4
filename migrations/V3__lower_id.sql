-- The order of texts by bytes, whatever the database's language is: SQLite knows the collation "BINARY" by itself, on
-- PostgreSQL the program makes it of "C" before it applies migrations.
DROP INDEX users_by_id;
CREATE INDEX users_by_id ON users (id_number, user_id COLLATE "BINARY");

DROP INDEX products_by_id;
CREATE INDEX products_by_id ON products (id_number, product_id COLLATE "BINARY");
