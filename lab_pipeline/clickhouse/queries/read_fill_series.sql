-- One row a bucket that has fills; buckets grow where there would be more than max_points of them.
WITH
    {bucket:Int64} AS bucket_ms,
    (
        SELECT max(attempt)
        FROM run_commits
        WHERE run_id = {run_id:String} AND dataset = 'fills'
    ) AS newest,
    (
        SELECT (
            toInt64(uniqExact(intDiv(toUnixTimestamp64Milli(timestamp), bucket_ms))),
            max(toUnixTimestamp64Milli(timestamp)) - min(toUnixTimestamp64Milli(timestamp))
        )
        FROM run_fills
        WHERE run_id = {run_id:String} AND attempt = newest
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
    count() AS fills,
    countIf(side = 'buy') AS buys,
    countIf(side = 'sell') AS sells,
    sum(price * quantity) AS notional
FROM run_fills
WHERE run_id = {run_id:String} AND attempt = newest
    AND timestamp >= {start:DateTime64(3, 'UTC')} AND timestamp < {end:DateTime64(3, 'UTC')}
GROUP BY bucket
ORDER BY bucket
