-- One row a bucket that has fills.
SELECT
    fromUnixTimestamp64Milli(intDiv(toUnixTimestamp64Milli(timestamp), {bucket:Int64}) * {bucket:Int64}, 'UTC') AS bucket,
    count() AS fills,
    countIf(side = 'buy') AS buys,
    countIf(side = 'sell') AS sells,
    sum(price * quantity) AS notional
FROM run_fills
WHERE run_id = {run_id:String}
    AND attempt = (SELECT max(attempt) FROM run_commits WHERE run_id = {run_id:String} AND dataset = 'fills')
    AND timestamp >= {start:DateTime64(3, 'UTC')} AND timestamp < {end:DateTime64(3, 'UTC')}
GROUP BY bucket
ORDER BY bucket
