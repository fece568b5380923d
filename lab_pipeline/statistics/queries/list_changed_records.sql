-- Runs whose record is not what it was: the id, the new status and strategy, the old ones and whether they are on record.
SELECT
    run_id,
    recorded.run_id IS NOT NULL AS is_recorded,
    recorded.status AS status,
    recorded.strategy_id AS strategy_id,
    recorded.completed_at AS completed_at,
    known.run_id IS NOT NULL AS was_recorded,
    known.status AS old_status,
    known.strategy_id AS old_strategy_id
FROM recorded
FULL JOIN statistics_runs AS known USING (run_id)
WHERE recorded.run_id IS NULL
    OR known.run_id IS NULL
    OR recorded.status IS DISTINCT FROM known.status
    OR recorded.strategy_id IS DISTINCT FROM known.strategy_id
    OR recorded.completed_at IS DISTINCT FROM known.completed_at
