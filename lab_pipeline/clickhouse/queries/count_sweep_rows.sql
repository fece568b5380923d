-- What is visible of a sweep: its rows in the newest committed attempt.
WITH
    (
        SELECT max(attempt)
        FROM run_commits
        WHERE run_id = {run_id:String} AND dataset = 'sweep_sets'
    ) AS sets,
    (
        SELECT max(attempt)
        FROM run_commits
        WHERE run_id = {run_id:String} AND dataset = 'sweep_days'
    ) AS days
SELECT 'sweep_sets' AS name, count() AS rows
FROM sweep_sets
WHERE run_id = {run_id:String} AND attempt = sets
HAVING sets > 0
UNION ALL
SELECT 'sweep_days' AS name, count() AS rows
FROM sweep_days
WHERE run_id = {run_id:String} AND attempt = days
HAVING days > 0
