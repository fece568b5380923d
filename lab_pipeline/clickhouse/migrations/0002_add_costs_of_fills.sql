-- What a fill gave up to the market, as a fraction of its price, and which part of what was wanted it is; null in rows
-- of runs from before that was recorded.

ALTER TABLE $database.run_fills$local $on_cluster
    ADD COLUMN IF NOT EXISTS slippage Nullable(Float64) CODEC(ZSTD(1)) AFTER reason,
    ADD COLUMN IF NOT EXISTS filled Nullable(Float64) CODEC(ZSTD(1)) AFTER slippage;
