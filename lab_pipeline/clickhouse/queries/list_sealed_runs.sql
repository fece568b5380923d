-- Runs that had ended and whose log had arrived, and when that was last found.
SELECT run_id, max(committed_at) AS sealed_at
FROM run_commits
WHERE dataset = 'logs'
GROUP BY run_id
