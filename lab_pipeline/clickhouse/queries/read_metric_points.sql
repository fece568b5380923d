-- A run's metrics as they are, a row a point.
SELECT toString(kind) AS kind, timestamp AS bucket, value
FROM run_metrics
WHERE run_id = {run_id:String} AND run_metrics.kind IN {kinds:Array(String)}
    AND attempt = (SELECT max(attempt) FROM run_commits WHERE run_id = {run_id:String} AND dataset = 'metrics')
    AND timestamp >= {start:DateTime64(3, 'UTC')} AND timestamp < {end:DateTime64(3, 'UTC')}
ORDER BY run_metrics.kind, timestamp
