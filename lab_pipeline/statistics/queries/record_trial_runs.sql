-- The sweeps and backtests of `runs`, with how many tries were the first of their kind.
INSERT INTO trial_runs BY NAME
SELECT runs.*, coalesce(added, 0) AS trials
FROM runs
LEFT JOIN (
    SELECT first_run_id AS run_id, count(*) AS added
    FROM trials SEMI JOIN runs USING (snapshot)
    GROUP BY ALL
) USING (run_id)
