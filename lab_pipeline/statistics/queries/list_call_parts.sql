-- What trades and paths say of each call: sums, from which its means over all runs are made.
SELECT
    call_id,
    min(caller) AS caller,
    min(called_at) AS called_at,
    min(fills) AS first_fills,
    max(fills) AS last_fills,
    count(*) AS trades,
    count(*) FILTER (net_return > 0) AS wins,
    sum(fixed(net_return)) AS net,
    sum(fixed(mfe)) AS mfe,
    sum(fixed(mae)) AS mae,
    0 AS paths,
    0 AS ath,
    0 AS returns_known,
    0 AS pre_return_1h,
    0 AS volatilities_known,
    0 AS pre_volatility_1h,
    0 AS volumes_known,
    0 AS pre_volume_1h,
    0 AS hour_of_day
FROM trades
JOIN run_labels USING (run_no)
GROUP BY call_id
UNION ALL
SELECT
    call_id,
    NULL,
    NULL,
    NULL,
    NULL,
    0,
    0,
    0,
    0,
    0,
    count(*),
    sum(fixed(ath_multiple)),
    count(pre_return_1h),
    coalesce(sum(fixed(pre_return_1h)), 0),
    count(pre_volatility_1h),
    coalesce(sum(fixed(pre_volatility_1h)), 0),
    count(pre_volume_1h),
    coalesce(sum(fixed(pre_volume_1h)), 0),
    sum(fixed(hour_of_day))
FROM paths
GROUP BY call_id
