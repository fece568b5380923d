-- Trades by each of the keys that /statistics/pnl groups by. `runs` counts the runs that have a trade in the group; they
-- have the same fill assumptions where the first and the last of them are the same.
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
        daily.* EXCLUDE (day),
        fills
    FROM daily
    JOIN run_labels USING (run_no)
),

named AS (
    SELECT
        'caller' AS group_by,
        caller AS key,
        run_no,
        count(*) AS trades,
        count(*) FILTER (net_return > 0) AS wins,
        sum(fixed(net_return)) AS net,
        min(net_return) AS lowest,
        max(net_return) AS highest
    FROM trades
    GROUP BY caller, run_no
    UNION ALL
    SELECT
        'token',
        mint,
        run_no,
        count(*),
        count(*) FILTER (net_return > 0),
        sum(fixed(net_return)),
        min(net_return),
        max(net_return)
    FROM trades
    GROUP BY mint, run_no
),

parts AS (
    SELECT group_by, key, run_no, trades, wins, net, lowest, highest, fills FROM dated
    UNION ALL
    SELECT named.*, fills FROM named JOIN run_labels USING (run_no)
)

SELECT
    group_by,
    key,
    count(DISTINCT run_no) AS runs,
    CAST(sum(trades) AS BIGINT) AS trades,
    CAST(sum(wins) AS BIGINT) AS wins,
    sum(net) AS net,
    min(lowest) AS lowest,
    max(highest) AS highest,
    min(fills) AS first_fills,
    max(fills) AS last_fills
FROM parts
GROUP BY group_by, key
