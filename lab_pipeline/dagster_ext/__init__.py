"""What plugs into Dagster: run launcher, run worker, run coordinator, executors, IO manager, and the access to its internals."""
