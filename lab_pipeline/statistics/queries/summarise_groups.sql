-- The totals, from the groupings that they have to agree with; the median from every trade.
SELECT
    CAST(coalesce(sum(trades) FILTER (group_by = 'strategy'), 0) AS BIGINT) AS total_trades,
    CAST(coalesce(sum(wins) FILTER (group_by = 'strategy'), 0) AS BIGINT) AS total_wins,
    count(*) FILTER (group_by = 'token') AS total_tokens,
    count(*) FILTER (group_by = 'caller') AS total_callers,
    coalesce(sum(net) FILTER (group_by = 'strategy'), 0) AS net,
    (SELECT median(net_return) FROM trades) AS median_pnl
FROM groups
