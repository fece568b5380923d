-- The tries of `incoming` that are not there yet.
INSERT INTO trials BY NAME
SELECT strategy_id, config_hash, snapshot, objective, min(run_id) AS first_run_id
FROM incoming
ANTI JOIN trials USING (strategy_id, config_hash, snapshot, objective)
GROUP BY ALL
