-- Different tries of a family on calls of a period (null for any), without those of `own`, and by how many sweeps and backtests.
WITH looked AS (
    SELECT run_id, kind
    FROM trial_runs
    WHERE
        list_contains($family, strategy_id)
        AND ($last_call IS NULL OR first_call < $last_call)
        AND ($first_call IS NULL OR last_call > $first_call)
),
found AS (
    SELECT DISTINCT config_hash, snapshot, objective
    FROM trials
    JOIN looked ON first_run_id = run_id
)
SELECT
    (SELECT count(*) FROM found ANTI JOIN own USING (config_hash, snapshot, objective)),
    (SELECT count(*) FROM looked WHERE kind = 'sweep'),
    (SELECT count(*) FROM looked WHERE kind = 'backtest')
