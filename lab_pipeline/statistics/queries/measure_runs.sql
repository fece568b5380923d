-- What the trades and paths of each new run come to.
WITH traded AS (
    SELECT
        run_no,
        count(*) AS trades,
        count(*) FILTER (net_return > 0) AS wins,
        sum(fixed(net_return)) AS net,
        sum(fixed(net_return)) FILTER (net_return > 0) AS gains,
        sum(fixed(net_return)) FILTER (net_return < 0) AS losses
    FROM trades
    GROUP BY run_no
),

seen AS (
    SELECT run_no, count(*) AS paths FROM paths GROUP BY run_no
)

SELECT
    new_runs.* EXCLUDE (timeframe_ms),
    coalesce(trades, 0) AS trades,
    coalesce(paths, 0) AS paths,
    coalesce(wins, 0) AS wins,
    wins / trades AS win_rate,
    coalesce(net, 0) AS net,
    coalesce(gains, 0) AS gains,
    coalesce(losses, 0) AS losses,
    total_return * initial_capital AS pnl,
    stability
FROM new_runs
LEFT JOIN traded USING (run_no)
LEFT JOIN seen USING (run_no)
LEFT JOIN steadiness ON steadiness.owner = new_runs.run_no
ORDER BY run_no
