ALTER TABLE $database.run_fills $on_cluster
    ADD COLUMN IF NOT EXISTS slippage Nullable(Float64) AFTER reason,
    ADD COLUMN IF NOT EXISTS filled Nullable(Float64) AFTER slippage;
