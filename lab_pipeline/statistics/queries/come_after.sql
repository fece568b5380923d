-- What follows a given place in the order of rank_rows.
(NOT _established AND $after_established)
OR (
    _established = $after_established
    AND (
        ($after_score IS NOT NULL AND (_score < $after_score OR _score IS NULL))
        OR (_score IS NOT DISTINCT FROM CAST($after_score AS DOUBLE) AND _name > $after_name)
    )
)
