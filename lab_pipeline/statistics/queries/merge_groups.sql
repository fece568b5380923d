-- Groups of runs that have no run in common, put together; only those that the new ones touch.
SELECT
    group_by,
    key,
    CAST(sum(runs) AS BIGINT) AS runs,
    CAST(sum(trades) AS BIGINT) AS trades,
    CAST(sum(wins) AS BIGINT) AS wins,
    sum(net) AS net,
    min(lowest) AS lowest,
    max(highest) AS highest,
    min(first_fills) AS first_fills,
    max(last_fills) AS last_fills
FROM (
    SELECT old_groups.* FROM old_groups SEMI JOIN new_groups USING (group_by, key)
    UNION ALL
    FROM new_groups
)
GROUP BY group_by, key
