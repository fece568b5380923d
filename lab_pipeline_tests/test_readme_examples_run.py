import re
from pathlib import Path

import polars as pl

from lab_pipeline.runs.strategies import example_strategies
from lab_pipeline_tests.support.markets import calls, candles

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()


def test_the_notebook_example_is_three_lines_and_works():
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(block.splitlines()) == 3
    time = pl.Datetime("ms", "UTC")
    names = {
        "pl": pl,
        "candles": candles().with_columns(pl.col("timestamp").cast(time)),
        "calls": calls().with_columns(pl.col("called_at").cast(time)),
        "strategy": example_strategies()[1],
    }
    exec(block.replace('timeframe="5m"', 'timeframe="1m"'), names)  # noqa: S102 - our own README
    assert names["result"].trades.height >= 3
    assert names["result"].summary.calls == 3
