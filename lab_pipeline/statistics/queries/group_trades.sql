-- Trades by each of the keys that /statistics/pnl groups by. `runs` counts the runs that have a trade in the group.
WITH daily AS (
    SELECT
        run_no,
        CAST(called_at AS DATE) AS day,
        count(*) AS trades,
        count(*) FILTER (net_return > 0) AS wins,
        sum(fixed(net_return)) AS net,
        min(net_return) AS lowest,
        max(net_return) AS highest
    FROM trades
    GROUP BY ALL
),

dated AS (
    SELECT
        unnest(['day', 'week', 'month', 'strategy']) AS group_by,
        unnest([strftime(day, '%Y-%m-%d'), strftime(day, '%G-W%V'), strftime(day, '%Y-%m'), strategy_id]) AS key,
        daily.*
    FROM daily
    JOIN run_strategies USING (run_no)
),

named AS (
    SELECT
        'caller' AS group_by,
        caller AS key,
        count(DISTINCT run_no) AS runs,
        count(*) AS trades,
        count(*) FILTER (net_return > 0) AS wins,
        sum(fixed(net_return)) AS net,
        min(net_return) AS lowest,
        max(net_return) AS highest
    FROM trades
    GROUP BY caller
    UNION ALL
    SELECT
        'token',
        mint,
        count(DISTINCT run_no),
        count(*),
        count(*) FILTER (net_return > 0),
        sum(fixed(net_return)),
        min(net_return),
        max(net_return)
    FROM trades
    GROUP BY mint
)

SELECT
    group_by,
    key,
    count(DISTINCT run_no) AS runs,
    CAST(sum(trades) AS BIGINT) AS trades,
    CAST(sum(wins) AS BIGINT) AS wins,
    sum(net) AS net,
    min(lowest) AS lowest,
    max(highest) AS highest
FROM dated
GROUP BY group_by, key
UNION ALL
FROM named
