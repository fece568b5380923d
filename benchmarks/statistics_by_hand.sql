-- What somebody would write by hand over merged files: trades(run_id, strategy_id, ...), paths(run_id, ...) and
-- equity(run_id, ...). One statement a table of the project, the same numbers, with ordinary sums of doubles.
CREATE OR REPLACE TEMP TABLE by_group AS
SELECT 'day' AS group_by, strftime(CAST(called_at AS DATE), '%Y-%m-%d') AS key, count(DISTINCT run_id) AS runs,
    count(*) AS trades, count(*) FILTER (net_return > 0) AS wins, sum(net_return) AS net, min(net_return), max(net_return)
FROM trades GROUP BY CAST(called_at AS DATE)
UNION ALL
SELECT 'week', strftime(date_trunc('week', called_at), '%G-W%V'), count(DISTINCT run_id),
    count(*), count(*) FILTER (net_return > 0), sum(net_return), min(net_return), max(net_return)
FROM trades GROUP BY date_trunc('week', called_at)
UNION ALL
SELECT 'month', strftime(date_trunc('month', called_at), '%Y-%m'), count(DISTINCT run_id),
    count(*), count(*) FILTER (net_return > 0), sum(net_return), min(net_return), max(net_return)
FROM trades GROUP BY date_trunc('month', called_at)
UNION ALL
SELECT 'strategy', strategy_id, count(DISTINCT run_id),
    count(*), count(*) FILTER (net_return > 0), sum(net_return), min(net_return), max(net_return)
FROM trades GROUP BY strategy_id
UNION ALL
SELECT 'caller', caller, count(DISTINCT run_id),
    count(*), count(*) FILTER (net_return > 0), sum(net_return), min(net_return), max(net_return)
FROM trades GROUP BY caller
UNION ALL
SELECT 'token', mint, count(DISTINCT run_id),
    count(*), count(*) FILTER (net_return > 0), sum(net_return), min(net_return), max(net_return)
FROM trades GROUP BY mint;

CREATE OR REPLACE TEMP TABLE overview AS
SELECT count(DISTINCT run_id), count(DISTINCT mint), count(DISTINCT caller), count(*), sum(net_return), avg(net_return),
    median(net_return), avg(CAST(net_return > 0 AS INTEGER))
FROM trades;

CREATE OR REPLACE TEMP TABLE distribution AS
SELECT 'pnl' AS metric, CASE WHEN net_return < -0.5 THEN 0 WHEN net_return < -0.25 THEN 1 WHEN net_return < -0.1 THEN 2
    WHEN net_return < 0 THEN 3 WHEN net_return < 0.1 THEN 4 WHEN net_return < 0.25 THEN 5 WHEN net_return < 0.5 THEN 6
    WHEN net_return < 1 THEN 7 ELSE 8 END AS bucket, count(*) AS count
FROM trades GROUP BY bucket
UNION ALL
SELECT 'holdMinutes', CASE WHEN hold_minutes < 5 THEN 0 WHEN hold_minutes < 15 THEN 1 WHEN hold_minutes < 60 THEN 2
    WHEN hold_minutes < 240 THEN 3 WHEN hold_minutes < 720 THEN 4 WHEN hold_minutes < 1440 THEN 5
    WHEN hold_minutes < 4320 THEN 6 ELSE 7 END AS bucket, count(*)
FROM trades GROUP BY bucket
UNION ALL
SELECT 'athMultiple', CASE WHEN ath_multiple < 1.1 THEN 0 WHEN ath_multiple < 1.25 THEN 1 WHEN ath_multiple < 1.5 THEN 2
    WHEN ath_multiple < 2 THEN 3 WHEN ath_multiple < 3 THEN 4 WHEN ath_multiple < 5 THEN 5 WHEN ath_multiple < 10 THEN 6
    WHEN ath_multiple < 100 THEN 7 ELSE 8 END AS bucket, count(*)
FROM paths GROUP BY bucket;

CREATE OR REPLACE TEMP TABLE runs AS
SELECT run_id, any_value(strategy_id) AS strategy_id, count(*) AS trades, count(*) FILTER (net_return > 0) AS wins,
    sum(net_return) AS net, sum(net_return) FILTER (net_return > 0) AS gains,
    sum(net_return) FILTER (net_return < 0) AS losses, sum(pnl) FILTER (taken) AS pnl
FROM trades GROUP BY run_id;

CREATE OR REPLACE TEMP TABLE stability AS
WITH closes AS (
    SELECT run_id, (epoch_ms(timestamp) - 300000) // 86400000 AS day, arg_max(equity, timestamp) AS close
    FROM equity GROUP BY ALL
),
returns AS (
    SELECT run_id, day, close / lag(close, 1, 10000) OVER (PARTITION BY run_id ORDER BY day) - 1 AS change FROM closes
),
totals AS (
    SELECT run_id, day, sum(change) OVER (PARTITION BY run_id ORDER BY day ROWS UNBOUNDED PRECEDING) AS total FROM returns
)
SELECT run_id, sign(regr_slope(total, day)) * regr_r2(total, day) FROM totals GROUP BY run_id;

CREATE OR REPLACE TEMP TABLE calls AS
SELECT * FROM (
    SELECT call_id, any_value(caller) AS caller, any_value(mint) AS mint, min(called_at) AS called_at, count(*) AS trades,
        avg(net_return) AS net_return, avg(mfe) AS mfe, avg(mae) AS mae
    FROM trades GROUP BY call_id
) JOIN (
    SELECT call_id, avg(ath_multiple) AS ath, avg(pre_return_1h) AS f1, avg(pre_volatility_1h) AS f2,
        avg(pre_volume_1h) AS f3, avg(hour_of_day) AS f4
    FROM paths GROUP BY call_id
) USING (call_id);

CREATE OR REPLACE TEMP TABLE callers AS
SELECT caller, count(*), avg(net_return), stddev(net_return), sum(net_return) FILTER (net_return > 0),
    sum(net_return) FILTER (net_return < 0)
FROM calls GROUP BY caller;

CREATE OR REPLACE TEMP TABLE correlation AS
WITH pairs AS (
    SELECT f.name AS feature, o.name AS outcome, f.value AS x, o.value AS y
    FROM (
        SELECT unnest([{name: 'f1', value: f1}, {name: 'f2', value: f2}, {name: 'f3', value: f3}, {name: 'f4', value: f4}]) AS f,
            [{name: 'net', value: net_return}, {name: 'mfe', value: mfe}, {name: 'mae', value: mae}, {name: 'ath', value: ath}] AS os
        FROM calls
    ), unnest(os) AS u (o)
    WHERE f.value IS NOT NULL AND o.value IS NOT NULL
),
ranked AS (
    SELECT feature, outcome, x, y,
        rank() OVER (PARTITION BY feature, outcome ORDER BY x)
            + (count(*) OVER (PARTITION BY feature, outcome, x) - 1) / 2.0 AS rx,
        rank() OVER (PARTITION BY feature, outcome ORDER BY y)
            + (count(*) OVER (PARTITION BY feature, outcome, y) - 1) / 2.0 AS ry
    FROM pairs
)
SELECT feature, outcome, count(*), corr(x, y), corr(rx, ry) FROM ranked GROUP BY feature, outcome;
