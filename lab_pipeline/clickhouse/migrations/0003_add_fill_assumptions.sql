-- What a run assumes of its fills, by id and in words, on the rows that say what is complete: who compares runs joins
-- them. Empty in rows from before that was recorded.

ALTER TABLE $database.run_commits$local $on_cluster
    ADD COLUMN IF NOT EXISTS fills LowCardinality(String) AFTER rows,
    ADD COLUMN IF NOT EXISTS fill_assumptions LowCardinality(String) AFTER fills;
