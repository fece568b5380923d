"""Whether last month's winners hold: a check that looks at each on the calls of this month."""

import re
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from lab_pipeline.dagster_ext.config_schema import form
from lab_pipeline.dagster_ext.metadata_table import table
from lab_pipeline.dagster_ext.op_failure import failing_clearly
from lab_pipeline.defs.sweep.checks import SELECTION
from lab_pipeline.domain.backtest import TimeRange
from lab_pipeline.domain.errors import LabError
from lab_pipeline.operations.lab import Lab
from lab_pipeline.sweeps.drift import drift_table, drifts

WINNERS_HOLD = "winners_hold"
MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


class DriftConfig(dg.Config):
    """Which calls are later ones."""

    month: str | None = Field(default=None, description="Of the later calls, such as 2025-03; by default this month.")


@dg.asset_check(
    asset=SELECTION,
    name=WINNERS_HOLD,
    config_schema=form(DriftConfig),
    description="What the winner of each active strategy earns this month is what it earned when it was chosen: "
    "their intervals have something in common.",
)
def winners_hold(context: dg.AssetCheckExecutionContext, lab: dg.ResourceParam[Lab]) -> dg.AssetCheckResult:
    """Run the latest winner of each active strategy that knew nothing of the month on the month's calls."""
    month = DriftConfig(**context.op_execution_context.op_config).month
    with failing_clearly(context.log):
        period = month_range(month or f"{datetime.now(UTC):%Y-%m}")
        stored, _ = lab.strategies.readable_latest()
        names = [one.strategy.id for one in stored if one.is_active]
        found = list(
            drifts(
                names,
                period,
                store=lab.sweeps,
                lake=lab.lake,
                strategies=lab.strategies,
                threads=lab.settings.threads,
            )
        )
    left = [one.strategy for one in found if one.has_left]
    return dg.AssetCheckResult(
        passed=not left,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{period.start:%Y-%m}: "
        + (f"{', '.join(left)} earn other than before" if left else "none has left")
        if found
        else f"{period.start:%Y-%m}: no active strategy has both a sweep from before and calls",
        metadata={"winners": table(drift_table(found))},
    )


def month_range(month: str) -> TimeRange:
    """Return the days of a month.

    Raises:
        LabError: if that is none.
    """
    if not MONTH.fullmatch(month):
        raise LabError(f"month {month!r} is none: write it as 2025-03")
    year, number = map(int, month.split("-"))
    later = (year + 1, 1) if number == 12 else (year, number + 1)  # noqa: PLR2004 - December
    return TimeRange(start=datetime(year, number, 1, tzinfo=UTC), end=datetime(*later, 1, tzinfo=UTC))
