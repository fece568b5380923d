-- Stability and deepest fall of the running total of `steps(owner, step, change)`. Ordered throughout, so that sums of
-- floats come out the same on any number of threads.
WITH numbered AS (
    SELECT
        owner,
        row_number() OVER (PARTITION BY owner ORDER BY step) AS place,
        sum(change) OVER (PARTITION BY owner ORDER BY step ROWS UNBOUNDED PRECEDING) AS total
    FROM steps
),

peaks AS (
    SELECT
        owner,
        place,
        total,
        greatest(0, max(total) OVER (PARTITION BY owner ORDER BY place ROWS UNBOUNDED PRECEDING)) AS peak
    FROM numbered
)

SELECT
    owner,
    CASE
        WHEN count(*) >= 3 AND max(total) - min(total) > 1e-12 * greatest(max(total), -min(total))
            THEN sign(regr_slope(total, place ORDER BY place)) * regr_r2(total, place ORDER BY place)
    END AS stability,
    max(peak - total) AS max_fall
FROM peaks
GROUP BY owner
