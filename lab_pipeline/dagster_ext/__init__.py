"""What plugs into Dagster: launcher, worker, coordinator, executors, IO manager, daemon; and its internals."""
