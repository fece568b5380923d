-- One row a bucket of a run's metrics; buckets grow where there would be more than max_points of them.
-- Of n buckets' width, points between first and last touch at most n + 2: hence max_points - 1.
WITH
    {bucket:Int64} AS bucket_ms,
    (
        SELECT max(attempt)
        FROM run_commits
        WHERE run_id = {run_id:String} AND dataset = 'metrics'
    ) AS newest,
    (
        SELECT (
            toInt64(uniqExact(intDiv(toUnixTimestamp64Milli(timestamp), bucket_ms))),
            max(toUnixTimestamp64Milli(timestamp)) - min(toUnixTimestamp64Milli(timestamp))
        )
        FROM run_metrics
        WHERE run_id = {run_id:String} AND kind = 'equity' AND attempt = newest
            AND {max_points:Int64} < {unlimited:Int64} -- or nothing is read here
            AND timestamp >= {start:DateTime64(3, 'UTC')} AND timestamp < {end:DateTime64(3, 'UTC')}
    ) AS extent,
    if(
        extent.1 <= {max_points:Int64},
        bucket_ms,
        bucket_ms * (intDiv(extent.2, bucket_ms * ({max_points:Int64} - 1)) + 1)
    ) AS width_ms
SELECT
    fromUnixTimestamp64Milli(intDiv(toUnixTimestamp64Milli(timestamp), width_ms) * width_ms, 'UTC') AS bucket,
    argMinIf(value, seq, kind = 'equity') AS equity_open,
    maxIf(value, kind = 'equity') AS equity_high,
    minIf(value, kind = 'equity') AS equity_low,
    argMaxIf(value, seq, kind = 'equity') AS equity_close,
    minIf(value, kind = 'drawdown') AS drawdown_min,
    avgIf(value, kind = 'exposure') AS exposure_mean,
    maxIf(value, kind = 'exposure') AS exposure_max
FROM run_metrics
WHERE run_id = {run_id:String} AND kind IN {kinds:Array(String)} AND attempt = newest
    AND timestamp >= {start:DateTime64(3, 'UTC')} AND timestamp < {end:DateTime64(3, 'UTC')}
GROUP BY bucket
ORDER BY bucket
