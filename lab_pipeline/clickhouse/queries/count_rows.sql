-- What is visible of a run: its rows in the newest committed attempt.
WITH
    (
        SELECT max(attempt)
        FROM run_commits
        WHERE run_id = {run_id:String} AND dataset = 'metrics'
    ) AS metrics,
    (
        SELECT max(attempt)
        FROM run_commits
        WHERE run_id = {run_id:String} AND dataset = 'fills'
    ) AS fills
SELECT toString(kind) AS name, count() AS rows
FROM run_metrics
WHERE run_id = {run_id:String} AND attempt = metrics
GROUP BY kind
UNION ALL
SELECT 'fills' AS name, count() AS rows
FROM run_fills
WHERE run_id = {run_id:String} AND attempt = fills
HAVING fills > 0
