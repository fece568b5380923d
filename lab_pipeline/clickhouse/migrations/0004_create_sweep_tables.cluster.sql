CREATE TABLE IF NOT EXISTS $database.sweep_sets $on_cluster AS $database.sweep_sets_local
ENGINE = Distributed('$cluster', '$database', 'sweep_sets_local', cityHash64(run_id));

CREATE TABLE IF NOT EXISTS $database.sweep_days $on_cluster AS $database.sweep_days_local
ENGINE = Distributed('$cluster', '$database', 'sweep_days_local', cityHash64(run_id));
