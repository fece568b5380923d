-- The equity's return of every UTC day of every new run; a point belongs to the day in which its candle opens.
WITH closes AS (
    SELECT
        runs.run_no,
        any_value(runs.initial_capital) AS initial_capital,
        (epoch_ms(equity.timestamp) - runs.timeframe_ms) // 86400000 AS day,
        arg_max(equity.equity, equity.timestamp) AS close
    FROM read_parquet($files) AS equity
    JOIN new_runs AS runs ON runs.run_no = $first_run_no + equity.file_index
    GROUP BY runs.run_no, day
)

SELECT
    run_no AS owner,
    day AS step,
    close / nullif(greatest(lag(close, 1, initial_capital) OVER (PARTITION BY run_no ORDER BY day), 0), 0) - 1 AS change
FROM closes
