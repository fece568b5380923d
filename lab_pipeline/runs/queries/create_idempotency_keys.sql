-- What was asked for under an idempotency key, and the run that came of it; null until there is one.
CREATE TABLE IF NOT EXISTS idempotency_keys (
    key VARCHAR PRIMARY KEY,
    request_hash VARCHAR NOT NULL,
    run_id VARCHAR,
    reserved_at TIMESTAMP NOT NULL -- UTC
)
