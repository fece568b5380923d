-- The log lines of some runs; names are filled in, the runs are bound.
DELETE FROM $database.run_logs$local $on_cluster
WHERE run_id IN {run_ids:Array(String)}
