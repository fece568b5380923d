"""What schedules and sensors ask for when they run backtests by themselves."""

import dagster as dg

from lab_pipeline.lake import Lake
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.runs.backtest import EmptyLakeError
from lab_pipeline.runs.tags import run_config, search_tags
from lab_pipeline.settings import Settings


def automation_timeframe(settings: Settings, lake: Lake) -> str:
    """Return the candle length to simulate on: LAB_AUTOMATION_TIMEFRAME, or else the shortest that the lake has.

    Raises:
        EmptyLakeError: if there are no candles of it.
    """
    known = lake.timeframes()
    wanted = settings.automation_timeframe or next(iter(known), None)
    if wanted is None:
        raise EmptyLakeError("the lake has no candles: `lab ingest candles FILE --timeframe 5m` adds some")
    if wanted not in known:
        raise EmptyLakeError(
            f"the lake has no {wanted} candles, which LAB_AUTOMATION_TIMEFRAME asks for: it has "
            f"{', '.join(known) or 'none'}"
        )
    return wanted


def request(config: BacktestConfig, *, key: str, window: str) -> dg.RunRequest:
    """Ask for a backtest, tagged from the start with what people search for.

    Args:
        config: with a version.
        key: of which Dagster starts one run.
        window: value of WINDOW_TAG.
    """
    fields = config.fields()
    return dg.RunRequest(run_key=key, run_config=run_config(fields), tags=search_tags(fields, window))
