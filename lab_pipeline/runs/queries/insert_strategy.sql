INSERT INTO strategies (id, version, name, description, tags, config, config_hash, is_active, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
