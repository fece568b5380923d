ALTER TABLE $database.run_commits $on_cluster
    ADD COLUMN IF NOT EXISTS fills LowCardinality(String) AFTER rows,
    ADD COLUMN IF NOT EXISTS fill_assumptions LowCardinality(String) AFTER fills;
