-- The number of the newest line that has arrived, of each run that has any.
SELECT run_id, max(seq) AS seq
FROM run_logs
WHERE run_id IN {run_ids:Array(String)}
GROUP BY run_id
