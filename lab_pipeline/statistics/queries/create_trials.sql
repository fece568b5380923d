-- What was ever evaluated. Rows are added and never deleted: a set that was looked at once stays looked at.
CREATE TABLE IF NOT EXISTS trial_runs (
    run_id VARCHAR PRIMARY KEY, -- of a sweep or a backtest
    kind VARCHAR NOT NULL, -- sweep or backtest
    strategy_id VARCHAR NOT NULL,
    snapshot VARCHAR NOT NULL, -- of the calls and candles
    objective VARCHAR NOT NULL, -- that sets were ranked by; none in a backtest
    trials BIGINT NOT NULL, -- rows that it has in trials
    first_call TIMESTAMP NOT NULL, -- UTC: the range of its calls, from here on
    last_call TIMESTAMP NOT NULL, -- to before this
    recorded_at TIMESTAMP NOT NULL -- UTC
);
CREATE TABLE IF NOT EXISTS trials (
    strategy_id VARCHAR NOT NULL,
    config_hash VARCHAR NOT NULL,
    snapshot VARCHAR NOT NULL,
    objective VARCHAR NOT NULL,
    first_run_id VARCHAR NOT NULL -- of the first of trial_runs that has tried it
);
CREATE TABLE IF NOT EXISTS promotions (
    strategy_id VARCHAR NOT NULL, -- that a set has become
    sweep_id VARCHAR NOT NULL,
    set_id INTEGER NOT NULL,
    parent_id VARCHAR NOT NULL, -- strategy that was swept
    promoted_at TIMESTAMP NOT NULL -- UTC
);
