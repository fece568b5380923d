-- A page of a leaderboard: rows of a source with their ranks: established ones first, then by score, then by name.
WITH scored AS (
    SELECT {name} AS _name, {score} AS _score, {established} AS _established FROM {source}
),

ranked AS (
    SELECT *, row_number() OVER (ORDER BY _established DESC, _score DESC NULLS LAST, _name) AS rank FROM scored
),

page AS (
    SELECT * FROM ranked WHERE {after} ORDER BY rank LIMIT {limit}
)

SELECT *
FROM page
JOIN (SELECT *, {name} AS _name FROM {source}) USING (_name)
ORDER BY rank
