-- The versions of a strategy, oldest first.
SELECT id, version, name, description, tags, config, config_hash, is_active, created_at
FROM strategies
WHERE id = ?
ORDER BY version
