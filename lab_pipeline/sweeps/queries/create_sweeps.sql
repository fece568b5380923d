-- Published sweeps, as their artifacts have them: rows come and go with the directories.
CREATE TABLE IF NOT EXISTS sweeps (
    run_id VARCHAR PRIMARY KEY, -- of the sweep
    strategy_id VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL, -- UTC
    method VARCHAR NOT NULL,
    sets BIGINT NOT NULL,
    objective VARCHAR NOT NULL,
    dsr DOUBLE,
    pbo DOUBLE,
    spa_p DOUBLE, -- consistent
    placebo_p DOUBLE,
    verdict VARCHAR NOT NULL
);
-- Who looked at which holdout. Rows are added and never deleted: what was seen stays seen.
CREATE TABLE IF NOT EXISTS holdout_reveals (
    run_id VARCHAR NOT NULL, -- of the sweep
    "at" TIMESTAMP NOT NULL, -- UTC
    "by" VARCHAR NOT NULL,
    strategy_id VARCHAR NOT NULL,
    first_call TIMESTAMP NOT NULL, -- UTC: the range of the calls that were held out, from here on
    last_call TIMESTAMP NOT NULL -- to before this
);
