import json
import subprocess
import sys

PROGRAM = """
import json, resource, sys
import polars
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
before = resident()
from lab_pipeline.clickhouse.client import ClickHouse
from lab_pipeline.clickhouse.config import ClickHouseConfig
from lab_pipeline.clickhouse.writer import publish_run
imported = resident() - before
from pathlib import Path
from lab_pipeline.clickhouse.logs import LOG_LINES, append_lines, list_lines
from lab_pipeline.clickhouse.series import fill_series, metric_series, visible_rows
from lab_pipeline_tests.clickhouse.market import equity_frame, fills_frame
url, state_dir = sys.argv[1:]
with ClickHouse(ClickHouseConfig(state_dir=Path(state_dir), url=url or None)) as clickhouse:
    publish_run(clickhouse, "no-pandas", equity_frame(20), fills_frame(4))
    line = {name: "INFO" for name, kind in LOG_LINES.items() if kind == polars.String}
    line |= {"run_id": "no-pandas", "seq": 1, "timestamp": equity_frame(1)["timestamp"][0]}
    append_lines(clickhouse, polars.DataFrame([line], schema=LOG_LINES))
    rows = visible_rows(clickhouse, "no-pandas")["equity"]
    rows += metric_series(clickhouse, "no-pandas").height + fill_series(clickhouse, "no-pandas").height
    rows += list_lines(clickhouse, "no-pandas").lines.height
heavy = [name for name in ("pandas", "pyarrow", "numpy", "chdb", "uvicorn") if name in sys.modules]
print(json.dumps({"rows": rows, "heavy": heavy, "megabytes": imported}))
"""


def test_a_run_process_imports_little(config, clickhouse):
    assert clickhouse.client.ping()
    arguments = [sys.executable, "-c", PROGRAM, config.url or "", str(config.state_dir)]
    found = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
    assert found["rows"] == 20 + 20 + 1 + 1
    assert found["heavy"] == []
    assert found["megabytes"] < 30
