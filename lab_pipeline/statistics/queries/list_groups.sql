-- Groups as they are shown; a sum is in multiples of 2^-52.
SELECT
    key,
    runs AS run_count,
    trades AS trade_count,
    CAST(net AS DOUBLE) / 4503599627370496.0e0 AS total_pnl,
    CAST(net AS DOUBLE) / 4503599627370496.0e0 / trades AS avg_pnl,
    lowest AS min_pnl,
    highest AS max_pnl,
    wins / trades AS win_rate,
    CASE WHEN first_fills = last_fills THEN first_fills END AS fills
FROM statistics_pnl
