"""The Dagster UI, as the lab serves it: behind a guard."""
