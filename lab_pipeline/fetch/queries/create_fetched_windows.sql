-- Spans of time that a source was asked for to their end, milliseconds since the epoch; those of one token do not overlap.
CREATE TABLE IF NOT EXISTS fetched_windows (
    source VARCHAR NOT NULL,
    chain VARCHAR NOT NULL, -- empty where the source does not ask for it
    mint VARCHAR NOT NULL,
    timeframe VARCHAR NOT NULL,
    start_ms BIGINT NOT NULL,
    fetched_through BIGINT NOT NULL, -- exclusive
    asked_and_empty BOOLEAN NOT NULL, -- it had no candle there
    asked_at BIGINT NOT NULL
)
