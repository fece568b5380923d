-- The totals as they are shown.
SELECT
    CAST($total_runs AS BIGINT) AS total_runs,
    total_tokens,
    total_callers,
    total_trades,
    total_wins,
    unfixed(net) AS total_pnl,
    unfixed(net) / nullif(total_trades, 0) AS avg_pnl,
    median_pnl,
    total_wins / nullif(total_trades, 0) AS win_rate,
    CAST($computed_at AS TIMESTAMP) AS computed_at,
    CAST($source_hash AS VARCHAR) AS source_hash
FROM totals
