"""The embedded server: one process that owns chDB and speaks ClickHouse's HTTP interface on loopback."""
