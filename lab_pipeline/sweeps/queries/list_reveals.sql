-- Looks of a family at calls of a range, the earliest first.
SELECT run_id, "at", "by"
FROM holdout_reveals
WHERE list_contains($family, strategy_id) AND first_call < $last_call AND last_call > $first_call
ORDER BY "at"
