-- Runs that have ended and whose log has arrived.
SELECT DISTINCT run_id
FROM run_commits
WHERE dataset = 'logs'
