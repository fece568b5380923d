"""Executors of Dagster that need an extra: loaded by the run that asks for one, and by no other."""
