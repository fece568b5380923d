"""Services without Dagster definitions: runs and their launch, recovery, retention, logs, notices, backup."""
