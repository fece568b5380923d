-- The mean net return of each call over all runs, in the order of the calls.
SELECT
    caller AS owner,
    row_number() OVER (PARTITION BY caller ORDER BY called_at, call_id) AS step,
    unfixed(net) / trades AS change
FROM calls
WHERE trades > 0
