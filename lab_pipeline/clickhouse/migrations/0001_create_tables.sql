-- Metrics, fills and logs of runs, and the record of what is complete.
--
-- Partitions follow the month of writing, not simulated time: twenty years of simulation are one partition, and
-- retention counts from when a run was made.

CREATE TABLE IF NOT EXISTS $database.run_metrics$local $on_cluster
(
    run_id String CODEC(ZSTD(1)),
    attempt UInt64 CODEC(ZSTD(1)),
    kind LowCardinality(String),
    timestamp DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    seq UInt64 CODEC(Delta, ZSTD(1)),
    value Float64 CODEC(ZSTD(1)),
    written_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = $merge_tree
PARTITION BY toYYYYMM(written_at)
ORDER BY (run_id, kind, attempt, timestamp, seq)
SETTINGS $deduplication, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS $database.run_fills$local $on_cluster
(
    run_id String CODEC(ZSTD(1)),
    attempt UInt64 CODEC(ZSTD(1)),
    timestamp DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    seq UInt64 CODEC(Delta, ZSTD(1)),
    call_id String CODEC(ZSTD(1)),
    mint LowCardinality(String),
    trade_no Int32 CODEC(ZSTD(1)),
    fill_no Int32 CODEC(ZSTD(1)),
    side LowCardinality(String),
    price Float64 CODEC(ZSTD(1)),
    fraction Float64 CODEC(ZSTD(1)),
    quantity Float64 CODEC(ZSTD(1)),
    fee Float64 CODEC(ZSTD(1)),
    reason LowCardinality(String),
    written_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = $merge_tree
PARTITION BY toYYYYMM(written_at)
ORDER BY (run_id, attempt, timestamp, seq)
SETTINGS $deduplication, ttl_only_drop_parts = 1;

-- A line is known by its number in the run's event log: the same line sent twice is one row in the end, and one in
-- every query, which reads it with FINAL.
CREATE TABLE IF NOT EXISTS $database.run_logs$local $on_cluster
(
    run_id String CODEC(ZSTD(1)),
    seq UInt64 CODEC(Delta, ZSTD(1)),
    timestamp DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    level LowCardinality(String),
    step_key LowCardinality(String),
    event_type LowCardinality(String),
    logger LowCardinality(String),
    message String CODEC(ZSTD(3)),
    stack String CODEC(ZSTD(3)),
    data String CODEC(ZSTD(3)),
    INDEX timestamps timestamp TYPE minmax GRANULARITY 1
)
ENGINE = $replacing_merge_tree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (run_id, seq)
SETTINGS $deduplication, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS $database.run_commits$local $on_cluster
(
    run_id String,
    attempt UInt64,
    dataset LowCardinality(String),
    rows UInt64,
    committed_at DateTime64(3, 'UTC')
)
ENGINE = $replacing_merge_tree
ORDER BY (run_id, dataset, attempt)
SETTINGS $deduplication;
