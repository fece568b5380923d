-- Parts that speak of the same call, put together; in a fixed order, which decides how sums of floats come out.
SELECT
    call_id,
    min(caller) AS caller,
    min(called_at) AS called_at,
    min(first_fills) AS first_fills,
    max(last_fills) AS last_fills,
    CAST(sum(trades) AS BIGINT) AS trades,
    CAST(sum(wins) AS BIGINT) AS wins,
    sum(net) AS net,
    sum(mfe) AS mfe,
    sum(mae) AS mae,
    CAST(sum(paths) AS BIGINT) AS paths,
    sum(ath) AS ath,
    CAST(sum(returns_known) AS BIGINT) AS returns_known,
    sum(pre_return_1h) AS pre_return_1h,
    CAST(sum(volatilities_known) AS BIGINT) AS volatilities_known,
    sum(pre_volatility_1h) AS pre_volatility_1h,
    CAST(sum(volumes_known) AS BIGINT) AS volumes_known,
    sum(pre_volume_1h) AS pre_volume_1h,
    sum(hour_of_day) AS hour_of_day
FROM call_parts
GROUP BY call_id
ORDER BY called_at, call_id
