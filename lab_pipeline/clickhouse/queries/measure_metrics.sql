-- How many buckets a run's metrics touch, and how far the last row is from the first, in milliseconds.
SELECT
    toInt64(uniqExact(intDiv(toUnixTimestamp64Milli(timestamp), {bucket:Int64}))) AS buckets,
    max(toUnixTimestamp64Milli(timestamp)) - min(toUnixTimestamp64Milli(timestamp)) AS extent_ms
FROM run_metrics
WHERE run_id = {run_id:String} AND kind = 'equity'
    AND attempt = (SELECT max(attempt) FROM run_commits WHERE run_id = {run_id:String} AND dataset = 'metrics')
    AND timestamp >= {start:DateTime64(3, 'UTC')} AND timestamp < {end:DateTime64(3, 'UTC')}
