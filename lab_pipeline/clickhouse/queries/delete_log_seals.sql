-- What says that the logs of some runs have arrived.
DELETE FROM $database.run_commits$local $on_cluster
WHERE dataset = 'logs' AND run_id IN {run_ids:Array(String)}
