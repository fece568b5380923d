"""DuckDB files that many processes share, and Dagster's run storage in one of them."""
