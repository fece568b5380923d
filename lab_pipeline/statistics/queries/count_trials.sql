-- Different tries of a family on calls of a range (null for any), without those of `own`, and by how many sweeps and
-- backtests. A try counts where it was first made; where strategies of the family have tried the same on the same calls
-- and candles it is counted once.
WITH looked AS (
    FROM trial_runs
    WHERE
        list_contains($family, strategy_id)
        AND ($last_call IS NULL OR first_call < $last_call)
        AND ($first_call IS NULL OR last_call > $first_call)
),
shared AS (
    SELECT snapshot, objective
    FROM looked
    GROUP BY ALL
    HAVING count(DISTINCT strategy_id) > 1
),
twice AS (
    SELECT count(*) - count(DISTINCT (config_hash, snapshot, objective)) AS tries
    FROM trials
    SEMI JOIN shared USING (snapshot, objective)
    SEMI JOIN looked ON first_run_id = run_id
),
known AS (
    SELECT count(DISTINCT (config_hash, snapshot, objective)) AS tries
    FROM trials
    SEMI JOIN own USING (snapshot, objective, config_hash)
    SEMI JOIN looked ON first_run_id = run_id
)
SELECT
    (SELECT coalesce(sum(trials), 0) FROM looked) - (SELECT tries FROM twice) - (SELECT tries FROM known),
    (SELECT count(*) FROM looked WHERE kind = 'sweep'),
    (SELECT count(*) FROM looked WHERE kind = 'backtest')
