-- Callers by the mean net return of their calls, with its 95 % interval: Student's, with the caller's own deviation or
-- that of all calls, whichever is larger, since a few lucky calls that happen to agree prove nothing. The win rate's
-- lower bound is Wilson's. Both count calls, not trades: the same call in a thousand runs is one piece of evidence.
WITH every_call AS (
    SELECT stddev_samp(change ORDER BY owner, step) AS spread FROM steps
),

judged AS (
    SELECT
        owner AS caller,
        count(*) AS calls,
        sum(change ORDER BY step) AS pnl,
        avg(change ORDER BY step) AS mean_return,
        1e-9 * max(abs(change)) AS rounding,
        greatest(stddev_samp(change ORDER BY step), any_value(spread)) AS deviation,
        sum(change ORDER BY step) FILTER (change > 0) AS gains,
        -sum(change ORDER BY step) FILTER (change < 0) AS losses
    FROM steps, every_call
    GROUP BY owner
),

traded AS (
    SELECT
        caller,
        CAST(sum(trades) AS BIGINT) AS trades,
        CAST(sum(wins) AS BIGINT) AS wins,
        CASE WHEN min(first_fills) = max(last_fills) THEN min(first_fills) END AS fills
    FROM calls
    WHERE trades > 0
    GROUP BY caller
),

intervals AS (
    SELECT
        *,
        CASE WHEN calls > 1 THEN student * deviation / sqrt(calls) END AS half,
        wins / trades AS win_rate,
        3.8414588206941236e0 / calls AS z2
    FROM judged
    JOIN traded USING (caller)
    LEFT JOIN student_quantiles ON freedom = least(calls - 1, $largest_freedom)
)

SELECT
    caller,
    fills,
    calls,
    trades,
    wins,
    win_rate,
    (win_rate + z2 / 2 - sqrt(z2 * (win_rate * (1 - win_rate) + z2 / 4))) / (1 + z2) AS win_rate_low,
    pnl,
    mean_return,
    greatest(mean_return - half, -1) AS mean_return_low,
    mean_return + half AS mean_return_high,
    CASE WHEN deviation > rounding THEN mean_return / deviation END AS sharpe,
    CASE WHEN deviation > rounding THEN (mean_return - half) / deviation END AS sharpe_low,
    coalesce(gains, 0) / losses AS profit_factor,
    max_fall AS max_drawdown,
    stability,
    calls >= $established AS established
FROM intervals
JOIN steadiness ON steadiness.owner = intervals.caller
ORDER BY caller
