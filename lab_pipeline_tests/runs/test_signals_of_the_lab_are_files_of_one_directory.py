"""A strategy names a signal; what is executed is a file of the lab's own directory, or an installed package."""

import hashlib
import pickle

import polars as pl
import pytest

from lab_pipeline.domain import frames
from lab_pipeline.domain.backtest import AllUniverse, BacktestSpec, TimeRange
from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.lake import Lake
from lab_pipeline.runs import backtest as steps
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline_tests.lake.samples import START_MS, calls, candles

ABOVE = "import polars as pl\n\ndef signal(candles, level=1.05):\n    return pl.col('close') > level\n"
AHEAD = "import polars as pl\n\ndef signal(candles, **_):\n    return pl.col('close').shift(-1) > pl.col('close')\n"


@pytest.fixture
def lab(tmp_path):
    """A lake with one call whose price rises by 1 % a minute, a store of strategies, and a directory of signals."""
    lake = Lake(tmp_path / "lake")
    lake.write_candles(candles(["AAA"], 30), "1m")
    lake.write_calls(calls(1))
    (tmp_path / "signals").mkdir()
    return lake, StrategyStore(tmp_path / "catalog.duckdb", signals_dir=tmp_path / "signals"), tmp_path / "signals"


def request(strategies, name="above", **arguments):
    when = {"any": [{"kind": "registered", "name": name, "arguments": arguments}]}
    strategies.add(Strategy.parse({"id": "mine", "entry": {"when": when}, "exit": {"maxHoldMinutes": 5}}))
    start = pl.Series([START_MS, START_MS + 86_400_000]).cast(frames.TIMESTAMP)
    whole = TimeRange(start=start[0], end=start[1])
    return BacktestSpec(strategy_id="mine", timeframe="1m", range=whole, universe=AllUniverse())


def simulated(lab, **arguments):
    lake, strategies, _ = lab
    backtest = steps.resolve(request(strategies, **arguments), strategies, lake)
    return steps.simulate(backtest, steps.plan(backtest, lake))


def test_a_file_decides_when_to_buy(lab):
    (lab[2] / "above.py").write_text(ABOVE)
    result = simulated(lab, level=1.1)
    (entered,) = result.simulation.trades["entry_time"].to_physical()
    assert entered == START_MS + 6 * 60_000  # the candle of minute 5 is the first that closes above 1.1


def test_the_fingerprint_covers_the_text_of_the_file(lab):
    (lab[2] / "above.py").write_text(ABOVE)
    first = simulated(lab)
    assert first.provenance.spec.signals == {"above": hashlib.sha256(ABOVE.encode()).hexdigest()}
    (lab[2] / "above.py").write_text(ABOVE + "# the same\n")
    second = simulated(lab)
    assert second.simulation.trades.equals(first.simulation.trades)
    assert second.provenance.fingerprint != first.provenance.fingerprint


def test_other_processes_execute_what_was_hashed(lab):
    lake, strategies, directory = lab
    (directory / "above.py").write_text(ABOVE)
    whole = simulated(lab, level=1.1)
    backtest = pickle.loads(pickle.dumps(steps.resolve(request(strategies, level=1.1), strategies, lake)))  # noqa: S301 - as the ops of a run hand it over
    (directory / "above.py").write_text("raise SystemError")
    result = steps.simulate(backtest, steps.plan(backtest, lake))
    assert result.provenance.fingerprint == whole.provenance.fingerprint
    assert result.simulation.trades.equals(whole.simulation.trades)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (AHEAD, "signal 'above' looks ahead"),
        (ABOVE.replace("pl.col('close') >", "pl.col('close').shift(-1) >"), "signal 'above' looks ahead"),
        ("def other():\n    pass\n", "above.py has no function signal"),
        ("raise KeyError('gone')\n", "signal 'above' failed: KeyError: 'gone'"),
        ("raise SystemExit(3)\n", "signal 'above' failed: SystemExit: 3"),
        ("def signal(candles, **_):\n    return 1 / 0\n", "signal 'above' failed: ZeroDivisionError"),
        ("import polars as pl\n\ndef signal(candles, **_):\n    return pl.col('close')\n", "must say true or false"),
    ],
)
def test_a_signal_that_cannot_be_trusted_is_named_by_path_and_starts_nothing(lab, text, says):
    lake, strategies, directory = lab
    (directory / "above.py").write_text(text)
    asked = request(strategies)
    (found,) = steps.find_problems(asked, strategies, lake)
    assert found.path == "strategy.entry.when.any[0].name"
    assert says in found.message
    with pytest.raises(InvalidConfigError, match=says) as caught:
        steps.resolve(asked, strategies, lake)
    assert caught.value.errors[0].path == "entry.when.any[0].name"


def test_a_signal_that_an_override_names_is_named_by_its_place_there(lab):
    lake, strategies, directory = lab
    (directory / "above.py").write_text(ABOVE)
    (directory / "ahead.py").write_text(AHEAD)
    when = {"all": [{"kind": "rsi", "below": 30}, {"kind": "registered", "name": "ahead"}]}
    asked = request(strategies).model_copy(update={"params": {"exit.when": when}})
    (found,) = steps.find_problems(asked, strategies, lake)
    assert found.path == "params.exit.when.all[1].name"


def test_a_signal_is_executed_anew_once_its_text_changes(lab):
    lake, strategies, directory = lab
    for text, refused in ((AHEAD, True), (ABOVE, False), (AHEAD, True)):
        (directory / "above.py").write_text(text)
        assert bool(steps.find_problems(request(strategies), strategies, lake)) == refused


def test_an_installed_signal_that_cannot_be_imported_is_named_by_path(lab, tmp_path, monkeypatch):
    lake, strategies, _ = lab
    site = tmp_path / "site"
    (site / "broken-1.2.dist-info").mkdir(parents=True)
    (site / "broken-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.2\n")
    entry = "[lab_pipeline.signals]\nbroken-above = no_such_module:signal\n"
    (site / "broken-1.2.dist-info" / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(site)
    (found,) = steps.find_problems(request(strategies, "broken-above"), strategies, lake)
    assert found.path == "strategy.entry.when.any[0].name"
    assert "ModuleNotFoundError" in found.message


def test_a_signal_that_is_not_there_is_named_by_path(lab):
    lake, strategies, _ = lab
    asked = request(strategies, "nowhere")
    (found,) = steps.find_problems(asked, strategies, lake)
    assert found.path == "strategy.entry.when.any[0].name"
    assert "neither a file" in found.message
    with pytest.raises(InvalidConfigError, match="nowhere"):
        steps.resolve(asked, strategies, lake)


def test_no_name_leads_out_of_the_directory(lab, tmp_path):
    lake, strategies, directory = lab
    (tmp_path / "outside.py").write_text(ABOVE)
    (directory / "linked.py").symlink_to(tmp_path / "outside.py")
    assert steps.find_problems(request(strategies, "linked"), strategies, lake)
    for name in ("../outside", "/etc/passwd", ".hidden", "a/b"):
        with pytest.raises(InvalidConfigError, match="name"):
            request(strategies, name)


def test_an_installed_package_registers_a_signal(lab, tmp_path, monkeypatch):
    lake, strategies, _ = lab
    site = tmp_path / "site"
    (site / "made_up-1.2.dist-info").mkdir(parents=True)
    (site / "made_up_signals.py").write_text(ABOVE)
    (site / "made_up-1.2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1.2\n")
    entry = "[lab_pipeline.signals]\nmade-up-above = made_up_signals:signal\n"
    (site / "made_up-1.2.dist-info" / "entry_points.txt").write_text(entry)
    monkeypatch.syspath_prepend(site)
    result = simulated(lab, name="made-up-above", level=1.1)
    assert result.provenance.spec.signals == {"made-up-above": "made-up==1.2"}
    assert result.simulation.trades["entry_time"].to_physical().to_list() == [START_MS + 6 * 60_000]
    assert steps.find_problems(request(strategies, "made-up-above"), strategies, lake) == []
