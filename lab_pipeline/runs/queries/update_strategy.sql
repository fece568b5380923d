UPDATE strategies
SET name = ?, description = ?, tags = ?, is_active = ?
WHERE id = ?
