"""How many sets were ever tried of each strategy."""

import dagster as dg
import polars as pl

from lab_pipeline.dagster_ext.metadata_table import table
from lab_pipeline.dagster_ext.op_failure import failing_clearly
from lab_pipeline.operations.lab import Lab

TRIALS_KEY = dg.AssetKey(["statistics", "trials"])


@dg.asset(
    key=TRIALS_KEY,
    group_name="sweep",
    deps=[dg.AssetKey(["sweep", "sets"])],
    config_schema={},
    description="How many sets of parameters were ever tried of each strategy, over all its sweeps.",
)
def trials(context: dg.AssetExecutionContext, lab: dg.ResourceParam[Lab]) -> dg.MaterializeResult[None]:
    """Count the tries, which decide how far any winner of the strategy can be believed."""
    with failing_clearly(context.log):
        counts = trials_by_strategy(lab)
    return dg.MaterializeResult(metadata={"tries": table(counts), "strategies": counts.height})


def trials_by_strategy(lab: Lab) -> pl.DataFrame:
    """Return `strategy` and `sets`, how many different ones of it were tried, by strategy."""
    lab.sweeps.catch_up()
    return pl.DataFrame(
        [(name, lab.trials.tried(name).trials) for name in lab.trials.strategies()],
        pl.Schema({"strategy": pl.String(), "sets": pl.Int64()}),
        orient="row",
    )
