"""Dagster's daemon as the lab runs it."""
