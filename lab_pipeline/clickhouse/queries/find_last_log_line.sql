-- The number of the newest line of a run that has arrived.
SELECT max(seq) AS seq, count() AS lines
FROM run_logs
WHERE run_id = {run_id:String}
HAVING lines > 0
