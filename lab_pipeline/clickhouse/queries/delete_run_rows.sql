-- The rows of a run in one table; names are filled in, the run is bound.
DELETE FROM $database.$table$local $on_cluster
WHERE run_id = {run_id:String}
