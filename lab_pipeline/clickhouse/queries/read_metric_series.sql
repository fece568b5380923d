-- One row a bucket of a run's metrics.
SELECT
    fromUnixTimestamp64Milli(intDiv(toUnixTimestamp64Milli(timestamp), {bucket:Int64}) * {bucket:Int64}, 'UTC') AS bucket,
    argMinIf(value, seq, kind = 'equity') AS equity_open,
    maxIf(value, kind = 'equity') AS equity_high,
    minIf(value, kind = 'equity') AS equity_low,
    argMaxIf(value, seq, kind = 'equity') AS equity_close,
    minIf(value, kind = 'drawdown') AS drawdown_min,
    avgIf(value, kind = 'exposure') AS exposure_mean,
    maxIf(value, kind = 'exposure') AS exposure_max
FROM run_metrics
WHERE run_id = {run_id:String} AND kind IN {kinds:Array(String)}
    AND attempt = (SELECT max(attempt) FROM run_commits WHERE run_id = {run_id:String} AND dataset = 'metrics')
    AND timestamp >= {start:DateTime64(3, 'UTC')} AND timestamp < {end:DateTime64(3, 'UTC')}
GROUP BY bucket
ORDER BY bucket
