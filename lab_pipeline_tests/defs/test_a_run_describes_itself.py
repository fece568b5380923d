import logging
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import dagster as dg
import polars as pl
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.storage.tags import TagType, get_tag_type
from dagster._serdes import serialize_value

from lab_pipeline.cli.jobs import run_backtest_job
from lab_pipeline.definitions import defs
from lab_pipeline.defs.lake.assets import CallFiles, CandleFiles
from lab_pipeline.defs.lake.checks import evaluate
from lab_pipeline.defs.lake.metadata import measure
from lab_pipeline.domain import frames
from lab_pipeline.domain.columns import describe
from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.lake import Lake
from lab_pipeline.operations.backtest_config import BacktestConfig
from lab_pipeline.operations.lab import Lab
from lab_pipeline.reports import conclude, sparkline
from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.settings import load_settings
from lab_pipeline_tests.support.markets import calls, candles

NAMES = ["equity", "fill_certainty", "fills", "nulls", "outcomes", "paths", "report", "summary", "trades"]


def metadata(instance, *key):
    return instance.get_latest_materialization_event(dg.AssetKey(list(key))).asset_materialization.metadata


def test_every_artifact_is_materialised_with_its_shape_and_where_it_is(lab, run):
    settings, instance = lab
    assert run.error is None
    for name in NAMES:
        seen = metadata(instance, "backtest", name)
        assert "path" not in seen
        path = Path(url2pathname(urlsplit(seen["dagster/uri"].value).path))
        assert path.parent == settings.artifacts_dir / run.run_id
        assert path.stem == name
        assert seen["bytes"].value == f"{path.stat().st_size:,}"
        assert seen["url"].value == f"http://127.0.0.1:8000/runs/{run.run_id}/artifacts/{path.name}"
        assert seen["page"].value == f"http://127.0.0.1:8000/lab/runs/{run.run_id}"
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path)
            assert seen["dagster/row_count"].value == frame.height
            columns = seen["dagster/column_schema"].value.columns
            assert [column.name for column in columns] == frame.columns
            assert all(column.description == describe(name, column.name) for column in columns)
            assert all(column.description for column in columns)


def test_the_log_of_a_run_has_what_describes_an_asset_once(lab, run):
    _, instance = lab
    entries = [entry.dagster_event for entry in instance.all_logs(run.run_id) if entry.is_dagster_event]
    described = [event for event in entries if event.is_step_materialization and event.step_materialization_data]
    assert len(described) == len(NAMES) + 2
    assert all(event.step_materialization_data.materialization.metadata for event in described)
    outputs = [event.step_output_data for event in entries if event.event_type is dg.DagsterEventType.STEP_OUTPUT]
    assert {"trades", "backtest__run_metrics"} <= {output.output_name for output in outputs}
    assert not any(output.metadata for output in outputs)


def test_results_that_are_the_same_have_the_same_data_version(lab, run):
    _, instance = lab
    fingerprint = instance.get_run_by_id(run.run_id).tags["lab/fingerprint"]
    for name in (*NAMES, "run_metrics", "run_fills"):
        event = instance.get_latest_materialization_event(dg.AssetKey(["backtest", name])).asset_materialization
        assert event.tags["dagster/data_version"] == fingerprint, name


def test_what_the_ui_draws_from_run_to_run_are_returns_and_nothing_else(lab, run):
    settings, instance = lab
    summary = ArtifactStore(settings.artifacts_dir).manifest(run.run_id).summary
    drawn = {}
    for name in NAMES:
        for key, value in metadata(instance, "backtest", name).items():
            if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue) and key != "dagster/row_count":
                drawn[name, key] = pytest.approx(value.value, abs=1e-6)
    assert drawn == {
        ("summary", "mean net return"): summary.expectancy,
        ("summary", "total return"): summary.total_return,
        ("summary", "win rate"): summary.win_rate,
        ("summary", "max drawdown"): summary.max_drawdown,
    }


def test_a_page_begins_with_what_to_conclude_and_where_to_see_it(lab, run):
    settings, instance = lab
    concluded = conclude(Lab(settings, instance).run(run.run_id)).text
    for name in NAMES:
        seen = metadata(instance, "backtest", name)
        first = ["conclusion", "page"] if name in {"summary", "trades", "report"} else ["page"]
        assert list(seen)[: len(first)] == first
        assert "conclusion" not in first or seen["conclusion"].value == concluded
    for name in ("summary", "equity"):
        line = metadata(instance, "backtest", name)["equity"]
        assert isinstance(line, dg.TextMetadataValue), "a picture waits for a click"
        values = Lab(settings, instance).run(run.run_id).equity["equity"].to_list()
        assert line.value == f"{values[0]:,.2f} {sparkline(values)} {values[-1]:,.2f}"
        assert "equity" in list(metadata(instance, "backtest", name))[1:3]


def test_the_headline_is_a_table(lab, run):
    _, instance = lab
    seen = metadata(instance, "backtest", "summary")
    assert seen["strategy"].value == "ladder"
    headline = {row.data["number"]: row.data["value"] for row in seen["headline"].records}
    assert headline["trades"] >= 3
    assert seen["fill assumptions"].value.startswith("stops 0.5 through, ")
    assert headline["win_rate"] == 1.0
    assert run.run_id


def test_every_column_of_a_table_says_what_it_is_made_of(lab, run):
    _, instance = lab
    known = {
        "lake/candles": frames.CANDLES.names(),
        "lake/calls": frames.CALLS.names(),
        "backtest/fills": frames.FILLS.names(),
        "backtest/trades": frames.TRADES.names(),
        "backtest/equity": frames.EQUITY.names(),
    }
    for name in ("fills", "trades", "paths", "outcomes", "equity"):
        seen = metadata(instance, "backtest", name)
        deps = seen["dagster/column_lineage"].value.deps_by_column
        assert set(deps) == {column.name for column in seen["dagster/column_schema"].value.columns}
        assert all(
            dep.column_name in known[dep.asset_key.to_user_string()] for made_of in deps.values() for dep in made_of
        )
    fees = metadata(instance, "backtest", "run_fills")["dagster/column_lineage"].value.deps_by_column["fee"]
    assert fees == [dg.TableColumnDep(dg.AssetKey(["backtest", "fills"]), "fee")]
    assert run.run_id


def test_every_asset_says_where_its_code_is_and_who_owns_it(monkeypatch):
    monkeypatch.setenv("LAB_OWNERS", "ann@lab.test, team:quant")
    graph = defs().get_repository_def().asset_graph
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert list(node.owners) == ["ann@lab.test", "team:quant"]
        (reference,) = node.metadata["dagster/code_references"].code_references
        assert Path(reference.file_path).parts[-4:-2] == ("lab_pipeline", "defs")


@pytest.mark.parametrize("owner", ["ann", "team:", "team:the quants", "ann@lab"])
def test_an_owner_that_dagster_would_not_take_is_refused(monkeypatch, owner):
    monkeypatch.setenv("LAB_OWNERS", owner)
    with pytest.raises(InvalidConfigError, match="LAB_OWNERS"):
        load_settings()


def test_the_equity_picture_is_inside_the_event(lab, run):
    _, instance = lab
    text = metadata(instance, "backtest", "equity")["equity and drawdown"].value
    head, _, data = text.partition(",")
    assert head == "![equity and drawdown](<data:image/svg+xml"
    assert ET.fromstring(unquote(data.removesuffix(">)"))).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - ours
    assert not set("<>\n") & set(data.removesuffix(">)")), "they would end the address"
    assert run.run_id


def test_the_equity_picture_takes_little_of_the_event_storage(lab, run):
    _, instance = lab
    said = [one.dagster_event for one in instance.all_logs(run.run_id) if one.dagster_event]
    (holding,) = (serialize_value(event) for event in said if "data:image" in serialize_value(event))
    assert len(holding) < 10_000


def test_tags_make_the_run_searchable(lab, run):
    settings, instance = lab
    tags = instance.get_run_by_id(run.run_id).tags
    assert tags["lab/strategy"] == "ladder"
    assert tags["lab/strategy_version"] == "1"
    assert tags["lab/timeframe"] == "1m"
    assert re.fullmatch("[0-9a-f]{12}", tags["lab/fills"])
    assert len(tags["lab/fingerprint"]) == 64
    assert re.fullmatch(r"\+\d+\.\d% a trade, no interval", tags["lab/result"]), "trades of one day have none"
    assert not any(tag.startswith(".") and get_tag_type(tag) is not TagType.HIDDEN for tag in tags)
    found = instance.get_runs(filters=dg.RunsFilter(tags={"lab/fingerprint": tags["lab/fingerprint"]}))
    assert [one.run_id for one in found] == [run.run_id]
    assert settings.artifacts_dir


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"strategy": "nothing"}, "unknown strategy 'nothing'"),
        ({"callers": ["zoe"]}, "unknown caller 'zoe'"),
        ({"mints": ["AAA"], "callers": ["ann"]}, "mints or callers, not both"),
        ({"timeframe": "1h"}, "no 1h candles"),
        ({"start": "soon"}, "write a time as"),
        ({"params": {"exit.stopLoss": 9}}, "exit.stopLoss"),
    ],
)
def test_a_run_that_cannot_work_says_why_in_one_line(lab, config, reason):
    settings, instance = lab
    ended = run_backtest_job(instance, BacktestConfig(**{"strategy": "ladder", "timeframe": "1m", **config}))
    assert reason in ended.error
    assert "\n" not in ended.error
    entries = [entry for entry in instance.all_logs(ended.run_id) if entry.step_key == "run.resolve"]
    lines = [entry.user_message for entry in entries if entry.level == logging.ERROR and not entry.is_dagster_event]
    assert lines == [ended.error]
    assert instance.get_run_by_id(ended.run_id).status is dg.DagsterRunStatus.FAILURE
    assert not (settings.artifacts_dir / ended.run_id).exists()


def test_a_picture_that_fails_publishes_nothing(lab, monkeypatch):
    settings, instance = lab

    def broken(*_args, **_kwargs):
        raise RuntimeError("no ink")

    monkeypatch.setattr("lab_pipeline.reports.equity_picture", broken)
    ended = run_backtest_job(instance, BacktestConfig(strategy="ladder", timeframe="1m"))
    assert ended.error == "RuntimeError: no ink"
    assert not (settings.artifacts_dir / ended.run_id).exists()


def test_materialising_the_lake_ingests_files_and_checks_them(lab):
    settings, instance = lab
    settings.inbox_dir.mkdir()
    candles(("CCC",), rows=50).filter(pl.int_range(pl.len()) != 10).write_csv(settings.inbox_dir / "more.csv")
    calls().head(1).with_columns(call_id=pl.lit("c9")).write_csv(settings.inbox_dir / "calls.csv")
    configs = {
        "lake__candles": CandleFiles(files=["more.csv"], timeframe="1m"),
        "lake__calls": CallFiles(files=[str(settings.inbox_dir / "calls.csv")]),
    }
    job = defs().resolve_implicit_global_asset_job_def()
    selection = [dg.AssetKey(["lake", "candles"]), dg.AssetKey(["lake", "calls"])]
    result = job.execute_in_process(run_config=dg.RunConfig(ops=configs), instance=instance, asset_selection=selection)
    assert result.success
    seen = metadata(instance, "lake", "candles")
    assert seen["added"].value == 49
    assert seen["dagster/row_count"].value == 289
    assert metadata(instance, "lake", "calls")["added"].value == 1


def test_the_checks_count_gaps_and_warn_about_thin_markets(tmp_path):
    lake = Lake(tmp_path)
    lake.write_candles(
        candles(("THIN",), rows=100)
        .filter(pl.int_range(pl.len()).is_in([0, 1, 50, 99]))
        .with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC"))),
        "1m",
    )
    checks = {check.check_name: check for check in evaluate(measure(lake), 0.5)}
    assert not checks["coverage"].passed
    assert checks["coverage"].severity is dg.AssetCheckSeverity.WARN
    assert checks["coverage"].metadata["lowest"].value == pytest.approx(0.04)
    assert checks["gaps"].passed
    assert checks["gaps"].metadata["longest, candles"].value == 48
    assert checks["duplicates"].passed


def test_some_thin_tokens_among_many_are_no_warning():
    measured = pl.DataFrame({"mint": list("ABCDE"), "coverage": [0.1, 0.9, 1.0, 1.0, 1.0], "gaps": 0, "longest_gap": 0,
                             "duplicates": 0})  # fmt: skip
    passed = {check.check_name: check.passed for check in evaluate(measured, 0.5)}
    assert passed["coverage"], "one of five"
    passed = {check.check_name: check.passed for check in evaluate(measured, 0.95)}
    assert not passed["coverage"], "two of five"


def test_an_interrupt_between_launch_and_start_leaves_the_run_canceled(lab, monkeypatch):
    _, instance = lab

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    before = instance.get_runs_count()
    monkeypatch.setattr("lab_pipeline.dagster_ext.foreground.execute_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_backtest_job(instance, BacktestConfig(strategy="ladder", timeframe="1m"))
    assert instance.get_runs_count() == before + 1
    assert instance.get_runs(limit=1)[0].status is dg.DagsterRunStatus.CANCELED


def test_an_interrupt_in_an_op_is_the_reason_of_the_failure(lab, monkeypatch):
    settings, instance = lab

    def interrupted(*_args, **_kwargs):
        raise DagsterExecutionInterruptedError

    monkeypatch.setattr("lab_pipeline.runs.backtest.simulate", interrupted)
    ended = run_backtest_job(instance, BacktestConfig(strategy="ladder", timeframe="1m"))
    assert ended.error == "the run was interrupted before it was done"
    assert not (settings.artifacts_dir / ended.run_id).exists()


def test_links_lead_to_where_browsers_reach_the_api(lab, monkeypatch):
    _, instance = lab
    monkeypatch.setenv("LAB_API_URL", "https://lab.test/api/")
    ended = run_backtest_job(instance, BacktestConfig(strategy="ladder", timeframe="1m", seed=7))
    seen = metadata(instance, "backtest", "summary")
    assert seen["tear sheet"].value == f"https://lab.test/api/runs/{ended.run_id}/artifacts/report.html"
    metrics = metadata(instance, "backtest", "run_metrics")["url"].value
    assert metrics.startswith(f"https://lab.test/api/runs/{ended.run_id}/metrics?type=")
