-- Pools of a token that a source knew, and which of them its candles are taken from.
CREATE TABLE IF NOT EXISTS fetched_pools (
    source VARCHAR NOT NULL,
    chain VARCHAR NOT NULL,
    mint VARCHAR NOT NULL,
    pool VARCHAR NOT NULL,
    dex VARCHAR,
    created_at BIGINT, -- milliseconds since the epoch
    liquidity_usd DOUBLE, -- when it was asked, not at the call: it decides nothing
    volume_usd DOUBLE, -- in the day before the call; null where one pool alone could be meant
    decided_for BIGINT NOT NULL, -- the call
    chosen BOOLEAN NOT NULL,
    reason VARCHAR NOT NULL,
    PRIMARY KEY (source, chain, mint, pool)
)
