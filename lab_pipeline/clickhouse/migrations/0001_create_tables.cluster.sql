-- On a cluster the tables of 0001 have the suffix `_local`; these spread over its shards, a run on one shard.

CREATE TABLE IF NOT EXISTS $database.run_metrics $on_cluster AS $database.run_metrics_local
ENGINE = Distributed('$cluster', '$database', 'run_metrics_local', cityHash64(run_id));

CREATE TABLE IF NOT EXISTS $database.run_fills $on_cluster AS $database.run_fills_local
ENGINE = Distributed('$cluster', '$database', 'run_fills_local', cityHash64(run_id));

CREATE TABLE IF NOT EXISTS $database.run_logs $on_cluster AS $database.run_logs_local
ENGINE = Distributed('$cluster', '$database', 'run_logs_local', cityHash64(run_id));

CREATE TABLE IF NOT EXISTS $database.run_commits $on_cluster AS $database.run_commits_local
ENGINE = Distributed('$cluster', '$database', 'run_commits_local', cityHash64(run_id));
