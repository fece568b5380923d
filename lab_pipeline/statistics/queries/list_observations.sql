-- One row a call: the means over all runs of what was known before the entry and of what came of it.
SELECT
    unfixed(pre_return_1h) / nullif(returns_known, 0) AS pre_return_1h,
    unfixed(pre_volatility_1h) / nullif(volatilities_known, 0) AS pre_volatility_1h,
    unfixed(pre_volume_1h) / nullif(volumes_known, 0) AS pre_volume_1h,
    unfixed(hour_of_day) / nullif(paths, 0) AS hour_of_day,
    unfixed(net) / nullif(trades, 0) AS net_return,
    unfixed(mfe) / nullif(trades, 0) AS mfe,
    unfixed(mae) / nullif(trades, 0) AS mae,
    unfixed(ath) / nullif(paths, 0) AS ath_multiple
FROM calls
ORDER BY called_at, call_id
