-- Products. Names need not be unique. The cost is decimal(12,2) kept as whole cents: exact in every database.
-- Ids are ordered as those of users are.
CREATE TABLE products (
    product_id   TEXT   NOT NULL PRIMARY KEY CHECK (LENGTH(product_id) BETWEEN 1 AND 64),
    id_number    BIGINT NOT NULL DEFAULT 9223372036854775807
        CHECK (id_number = 9223372036854775807
            OR (id_number BETWEEN 0 AND 9007199254740991 AND CAST(id_number AS TEXT) = product_id)),
    product_name TEXT   NOT NULL,
    cost_cents   BIGINT NOT NULL CHECK (cost_cents BETWEEN 0 AND 999999999999)
);

CREATE INDEX products_by_id ON products (id_number, product_id);
