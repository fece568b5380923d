-- Runs by version of their strategy and what they assume of their fills, which no median is to mix: what trades say is pooled, what a run says is the median of its runs.
SELECT
    strategy_id,
    strategy_version,
    fills,
    any_value(fill_assumptions) AS fill_assumptions,
    count(*) AS runs,
    CAST(sum(trades) AS BIGINT) AS trades,
    CAST(sum(wins) AS BIGINT) AS wins,
    sum(wins) / nullif(sum(trades), 0) AS win_rate,
    median(pnl) AS pnl,
    median(total_return) AS total_return,
    median(sharpe) AS sharpe,
    -CAST(sum(gains) AS DOUBLE) / nullif(CAST(sum(losses) AS DOUBLE), 0) AS profit_factor,
    median(max_drawdown) AS max_drawdown,
    median(stability) AS stability
FROM runs
GROUP BY strategy_id, strategy_version, fills
ORDER BY strategy_id, strategy_version, fills
