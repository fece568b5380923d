-- One row a version. The configuration never changes; name, description, tags and is_active are of the strategy as a
-- whole, the same in all its rows.
CREATE TABLE IF NOT EXISTS strategies (
    id VARCHAR NOT NULL,
    version INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    tags VARCHAR NOT NULL, -- JSON, an array of strings
    config VARCHAR NOT NULL, -- JSON, under the names of the HTTP API
    config_hash VARCHAR NOT NULL,
    is_active BOOLEAN NOT NULL,
    created_at TIMESTAMP NOT NULL, -- UTC
    PRIMARY KEY (id, version)
)
