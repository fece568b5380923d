-- The latest version of each strategy after an id, in the order of the ids.
SELECT id, version, name, description, tags, config, config_hash, is_active, created_at
FROM strategies
WHERE id > ?
QUALIFY row_number() OVER (PARTITION BY id ORDER BY version DESC) = 1
ORDER BY id
LIMIT ?
