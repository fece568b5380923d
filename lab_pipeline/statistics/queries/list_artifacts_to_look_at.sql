-- Completed runs whose directory is new or another one, counted runs that have none any more, and a share of the rest.
SELECT run_id, here.completed_at AS completed_at, here.directory AS directory, run_no, signature, manifest_sha256,
    known.directory AS old_directory
FROM (SELECT * FROM recorded JOIN found USING (run_id) WHERE status = 'completed') AS here
FULL JOIN leaderboard_runs AS known USING (run_id)
WHERE here.directory IS DISTINCT FROM known.directory
    OR run_no % $shares = $share
