-- Tables of statistics in the catalog. All of them are written in one transaction, whose state row says when and from what.
CREATE TABLE IF NOT EXISTS statistics_state (
    format INTEGER,
    computed_at TIMESTAMP,
    source_hash VARCHAR,
    calls_file VARCHAR,
    next_run_no INTEGER
);
CREATE TABLE IF NOT EXISTS statistics_segments (name VARCHAR, trades BIGINT);
CREATE TABLE IF NOT EXISTS statistics_runs (
    run_id VARCHAR,
    status VARCHAR,
    strategy_id VARCHAR,
    completed_at TIMESTAMP
);
CREATE TABLE IF NOT EXISTS statistics_overview (
    total_runs BIGINT,
    total_tokens BIGINT,
    total_callers BIGINT,
    total_trades BIGINT,
    total_wins BIGINT,
    total_pnl DOUBLE,
    avg_pnl DOUBLE,
    median_pnl DOUBLE,
    win_rate DOUBLE,
    computed_at TIMESTAMP,
    source_hash VARCHAR
);
CREATE TABLE IF NOT EXISTS statistics_pnl (
    group_by VARCHAR,
    key VARCHAR,
    runs BIGINT,
    trades BIGINT,
    wins BIGINT,
    net DECIMAL(38, 0),
    lowest DOUBLE,
    highest DOUBLE,
    first_fills VARCHAR,
    last_fills VARCHAR
);
CREATE TABLE IF NOT EXISTS statistics_distribution (
    metric VARCHAR,
    number INTEGER,
    bucket VARCHAR,
    lower DOUBLE,
    upper DOUBLE,
    count BIGINT
);
CREATE TABLE IF NOT EXISTS statistics_correlation (
    method VARCHAR,
    feature VARCHAR,
    outcome VARCHAR,
    correlation DOUBLE,
    low DOUBLE,
    high DOUBLE,
    n BIGINT
);
CREATE TABLE IF NOT EXISTS statistics_answers (key VARCHAR, computed_at TIMESTAMP, answer VARCHAR);
CREATE TABLE IF NOT EXISTS leaderboard_runs (
    run_no INTEGER,
    run_id VARCHAR,
    directory UBIGINT,
    signature VARCHAR,
    manifest_sha256 VARCHAR,
    manifest_trades BIGINT,
    manifest_paths BIGINT,
    strategy_id VARCHAR,
    strategy_version VARCHAR,
    timeframe VARCHAR,
    fills VARCHAR,
    fill_assumptions VARCHAR,
    fingerprint VARCHAR,
    completed_at TIMESTAMP,
    initial_capital DOUBLE,
    calls BIGINT,
    entered BIGINT,
    total_return DOUBLE,
    max_drawdown DOUBLE,
    profit_factor DOUBLE,
    expectancy DOUBLE,
    expectancy_low DOUBLE,
    expectancy_high DOUBLE,
    sharpe DOUBLE,
    sortino DOUBLE,
    trades BIGINT,
    paths BIGINT,
    wins BIGINT,
    win_rate DOUBLE,
    net DECIMAL(38, 0),
    gains DECIMAL(38, 0),
    losses DECIMAL(38, 0),
    pnl DOUBLE,
    stability DOUBLE
);
CREATE TABLE IF NOT EXISTS leaderboard_strategies (
    strategy_id VARCHAR,
    strategy_version VARCHAR,
    fills VARCHAR,
    fill_assumptions VARCHAR,
    runs BIGINT,
    trades BIGINT,
    wins BIGINT,
    win_rate DOUBLE,
    pnl DOUBLE,
    total_return DOUBLE,
    sharpe DOUBLE,
    profit_factor DOUBLE,
    max_drawdown DOUBLE,
    stability DOUBLE
);
CREATE TABLE IF NOT EXISTS leaderboard_callers (
    caller VARCHAR,
    fills VARCHAR,
    calls BIGINT,
    trades BIGINT,
    wins BIGINT,
    win_rate DOUBLE,
    win_rate_low DOUBLE,
    pnl DOUBLE,
    mean_return DOUBLE,
    mean_return_low DOUBLE,
    mean_return_high DOUBLE,
    sharpe DOUBLE,
    sharpe_low DOUBLE,
    profit_factor DOUBLE,
    max_drawdown DOUBLE,
    stability DOUBLE,
    established BOOLEAN
);
