-- The tries of `incoming` that are not there yet. Only those of the same snapshots are looked at: they lie together.
INSERT INTO trials BY NAME
SELECT strategy_id, config_hash, snapshot, objective, min(run_id) AS first_run_id
FROM incoming
ANTI JOIN (
    FROM trials SEMI JOIN incoming USING (snapshot)
) USING (strategy_id, config_hash, snapshot, objective)
GROUP BY ALL
