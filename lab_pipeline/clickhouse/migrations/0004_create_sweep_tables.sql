-- Sets of sweeps, and what the best of them earned by day. A parameter that is not set, or is no number, is not in
-- `params`, which is made of the two columns before it: Arrow as polars writes it knows no maps. A figure that does not
-- exist is null; a set that cannot win has rank 0.

CREATE TABLE IF NOT EXISTS $database.sweep_sets$local $on_cluster
(
    run_id String CODEC(ZSTD(1)),
    attempt UInt64 CODEC(ZSTD(1)),
    set_id UInt32 CODEC(ZSTD(1)),
    config_hash FixedString(64) CODEC(ZSTD(1)),
    param_names Array(String) EPHEMERAL,
    param_values Array(Float64) EPHEMERAL,
    params Map(LowCardinality(String), Float64) DEFAULT mapFromArrays(param_names, param_values) CODEC(ZSTD(1)),
    trades UInt32 CODEC(ZSTD(1)),
    expectancy Nullable(Float64) CODEC(ZSTD(1)),
    expectancy_lower Nullable(Float64) CODEC(ZSTD(1)),
    win_rate Nullable(Float64) CODEC(ZSTD(1)),
    profit_factor Nullable(Float64) CODEC(ZSTD(1)),
    plateau Nullable(Float64) CODEC(ZSTD(1)),
    lane_min Nullable(Float64) CODEC(ZSTD(1)),
    eligible UInt8 CODEC(ZSTD(1)),
    rank UInt32 CODEC(ZSTD(1)),
    written_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = $merge_tree
PARTITION BY toYYYYMM(written_at)
ORDER BY (run_id, attempt, rank, set_id)
SETTINGS $deduplication, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS $database.sweep_days$local $on_cluster
(
    run_id String CODEC(ZSTD(1)),
    attempt UInt64 CODEC(ZSTD(1)),
    set_id UInt32 CODEC(Delta, ZSTD(1)),
    day Date CODEC(Delta, ZSTD(1)),
    trades UInt32 CODEC(ZSTD(1)),
    net_sum Float64 CODEC(ZSTD(1)),
    net_sumsq Float64 CODEC(ZSTD(1)),
    written_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = $merge_tree
PARTITION BY toYYYYMM(written_at)
ORDER BY (run_id, attempt, set_id, day)
SETTINGS $deduplication, ttl_only_drop_parts = 1;
