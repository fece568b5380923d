"""Every number of `selection.json` from the published tables alone, by NumPy, SciPy and arch, the plain way."""

import json
import math
from datetime import timedelta
from itertools import combinations, product

import numpy as np
import polars as pl
import pytest
from arch.bootstrap import optimal_block_length
from scipy import stats

from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.lake import Lake
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps import running
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline_tests.engine.sweep.walks import walks
from lab_pipeline_tests.support.sweeps import sweeps_of

DAY = 86_400_000
HORIZON_MINUTES = 60
BASE = {
    "id": "mine",
    "horizonMinutes": HORIZON_MINUTES,
    "exit": {"targets": [{"multiple": 1.3, "fraction": 1.0}], "stopLoss": 0.2, "stopFill": {"through": 0}},
}
SPACE = {
    "exit.stopLoss": [0.02, 0.05, 0.1, 0.2, 0.3],
    "exit.maxHoldMinutes": [None, 15, 30],
    "entry.delayMinutes": [0, 2],
}
TRADES, DAYS, CALLERS = 20, 5, 3
TRAIN, TEST, EMBARGO = 10, 4, 1
RESAMPLES, SEED = 400, 11
REQUEST = {
    "strategy": "mine",
    "timeframe": "1m",
    "seed": SEED,
    "space": SPACE,
    "objective": {"min_trades": TRADES, "min_days": DAYS, "min_callers": CALLERS},
    "validation": {
        "walk_forward": {"train_days": TRAIN, "test_days": TEST, "step_days": TEST, "embargo_days": EMBARGO},
        "bootstrap": RESAMPLES,
        "placebo": 9,
    },
}
BESIDE = {"winner_values", "front", "parts", "caller_rule", "stop_fills"}
FIGURES = {
    "dsr": "dsr",
    "pbo": "pbo",
    "spa": "spa_consistent_p",
    "placebo": "placebo_p",
    "oos": "oos_expectancy",
    "plateau": "plateau_ratio",
    "lanes": "weakest_lane_expectancy",
}
WORDS = {"objective", "weakest_lane", "supported", "failed", "unsaid"}
TITLES = {
    "dsr": "deflated Sharpe ratio",
    "pbo": "probability of overfitting",
    "spa": "superior ability, p",
    "placebo": "placebo, p",
    "oos": "mean net return out of sample",
    "plateau": "plateau by peak",
    "lanes": "mean net return in the worst lane",
}


@pytest.fixture(scope="module", params=[1.0, 1.04], ids=["random walks", "calls before a jump"])
def published(request, tmp_path_factory):
    """What two sweeps have published, the second of which knows the tries of the first, and the calls."""
    home = tmp_path_factory.mktemp("by hand")
    candles, calls = walks(tokens=120, calls_each=4, seed=8)
    jumps = calls.select("mint", jump=pl.col("called_at").dt.offset_by("4m")).group_by("mint").agg("jump")
    after = pl.lit(1.0)
    for number in range(4):
        after *= pl.when(pl.col("timestamp") >= pl.col("jump").list.get(number)).then(request.param).otherwise(1.0)
    prices = ["open", "high", "low", "close"]
    candles = candles.join(jumps, on="mint", maintain_order="left").with_columns(pl.col(prices) * after).drop("jump")
    lake, strategies, store = Lake(home / "lake"), StrategyStore(home / "catalog.duckdb"), sweeps_of(home)
    lake.write_candles(candles, "1m")
    lake.write_calls(calls)
    strategies.add(Strategy.parse(BASE))
    first = {**REQUEST, "space": {"exit.stopLoss": [0.2, 0.4, 0.5]}, "validation": {"placebo": 0, "bootstrap": 100}}
    running.run_sweep(SweepSpec.parse(first), lake=lake, strategies=strategies, store=store)
    manifest, _ = running.run_sweep(SweepSpec.parse(REQUEST), lake=lake, strategies=strategies, store=store)
    directory = store.directory / manifest.sweep_id
    tables = {path.stem: pl.read_parquet(path) for path in directory.glob("*.parquet")}
    return tables, json.loads((directory / "selection.json").read_bytes()), calls


class Cells:
    """Trades and returns by set and day, as the table of days has them."""

    def __init__(self, tables, calls):
        days = tables["days"]
        self.days = days["day"].unique().sort().to_list()
        self.sets = tables["sets"].sort("set_id")
        self.trades, self.net = (np.zeros((self.sets.height, len(self.days))) for _ in range(2))
        for set_id, day, trades, net, _ in days.rows():
            self.trades[set_id, self.days.index(day)] = trades
            self.net[set_id, self.days.index(day)] = net
        ends = calls["called_at"].dt.replace_time_zone(None) + timedelta(minutes=HORIZON_MINUTES)
        by_day = (
            pl.DataFrame({"day": calls["called_at"].dt.date(), "end": ends}).group_by("day").agg(pl.col("end").max())
        )
        self.reach = [dict(by_day.rows())[day] for day in self.days]

    def starts(self, place):
        return pl.Series([self.days[place]]).cast(pl.Datetime("ms"))[0]

    def mean(self, one, days):
        count = self.trades[one, days].sum()
        return self.net[one, days].sum() / count if count else math.nan

    def lower(self, one, days):
        """Mean less 1.645 standard errors clustered by day."""
        n, x = self.trades[one, days], self.net[one, days]
        n, x = n[n > 0], x[n > 0]
        if len(n) < 2:
            return -math.inf
        mean = x.sum() / n.sum()
        error = math.sqrt(((x - n * mean) ** 2).sum() * len(n) / (len(n) - 1)) / n.sum()
        return mean - stats.norm.ppf(0.95) * error

    def able(self, one, days):
        n = self.trades[one, days]
        return n.sum() >= TRADES and (n > 0).sum() >= DAYS and self.sets["callers"][one] >= CALLERS

    def winner(self, days):
        scores = [self.lower(one, days) if self.able(one, days) else -math.inf for one in range(len(self.net))]
        return int(np.argmax(scores)) if np.isfinite(scores).any() else None


def test_every_number(published):
    tables, told, calls = published
    cells = Cells(tables, calls)
    everything = list(range(len(cells.days)))
    winner = cells.winner(everything)
    able = [one for one in range(len(cells.net)) if cells.able(one, everything)]
    trials_before = len({0.2, 0.4, 0.5} - {0.2})  # the base is one of this sweep's sets
    trials = len(cells.net) + trials_before
    by_hand = {
        "winner": winner,
        "objective": "expectancy_lower",
        "days": len(cells.days),
        "trials": trials,
        "trials_before": trials_before,
        **sharpe(cells, winner, able, trials, trials_before),
        **halves(cells, able),
        **superiority(cells.net[able], able),
        **walk_forward(cells),
        "path_expectancies": paths(cells),
        **plateau(cells, able),
        **lanes(tables, winner),
        "placebo_p": placebo(tables, cells.lower(winner, everything)),
    }
    by_hand |= verdict(by_hand)
    assert told.keys() - {"verdict", "expectancy_low", "expectancy_high", *BESIDE} == by_hand.keys()
    said_beside(tables, told, by_hand, winner)
    assert [title in told["verdict"] for title in TITLES.values()] == [name in by_hand["failed"] for name in TITLES]
    for name, bound in interval(cells, tables, winner).items():  # by a quantile of Student's t to 0.2 %
        assert told[name] == pytest.approx(bound, abs=0.002 * abs(bound - cells.mean(winner, everything))), name
    for name, value in by_hand.items():
        exactly = value is None or name in WORDS
        assert told[name] == (value if exactly else pytest.approx(value, rel=1e-8, abs=1e-12)), name
    assert cells.sets["objective"][winner] == pytest.approx(cells.lower(winner, everything), rel=1e-9)


def said_beside(tables, told, by_hand, winner):
    """What is not a figure of its own, or is made of more than the tables hold, fits what the tables do hold."""
    row = tables["sets"].filter(pl.col("set_id") == winner).row(0, named=True)
    assert told["winner_values"] == {path: row[f"p.{path}"] for path in SPACE}
    assert told["front"] is None
    assert [one["value"] for one in told["parts"]] == [told[FIGURES[one["part"]]] for one in told["parts"]]
    assert [one["passed"] for one in told["parts"]] == [one["part"] not in by_hand["failed"] for one in told["parts"]]
    rule, stops = told["caller_rule"], told["stop_fills"]
    pair = tables["callers"].filter((pl.col("set_id") == rule["set_id"]) & (pl.col("caller") == rule["caller"]))
    assert pair.select("p_value", "q_value").row(0) == (rule["p_value"], rule["q_value"])
    shuffled = tables["placebo"].filter(pl.col("kind") == "callers")["best_metric"].fill_null(-math.inf)
    assert rule["placebo_p"] == (1 + (shuffled >= rule["objective"]).sum()) / (1 + len(shuffled))
    assert (stops["winners"]["as_run"], stops["ranks"]["as_run"]) == (winner, 1)
    assert stops["objectives"]["as_run"] == row["objective"]


def interval(cells, tables, winner):
    """By days or callers, whichever is the wider."""
    callers = tables["callers"].filter(pl.col("set_id") == winner)
    by_day = cells.trades[winner], cells.net[winner]
    by_caller = callers["trades"].to_numpy(), callers["net_sum"].to_numpy()
    mean, halfs = cells.mean(winner, slice(None)), []
    for n, x in (by_day, by_caller):
        count, left = (n > 0).sum(), x - n * mean
        error = math.sqrt((left**2).sum() * count / (count - 1)) / n.sum()
        halfs.append(error * stats.t.ppf(0.975, count - 1))
    return {"expectancy_low": mean - max(halfs), "expectancy_high": mean + max(halfs)}


def sharpe(cells, winner, able, trials, before):
    correlations = np.corrcoef(cells.net)
    eigenvalues = np.linalg.eigvalsh(correlations)
    effective = min(trials, eigenvalues.sum() ** 2 / (eigenvalues**2).sum() * trials / len(cells.net))
    returns = cells.net[winner]
    days, ratio = len(returns), returns.mean() / returns.std()
    skew, kurtosis = stats.skew(returns, bias=False), stats.kurtosis(returns, fisher=False, bias=False)
    variance = 1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2
    spread = np.std([one.mean() / one.std(ddof=1) for one in cells.net[able]], ddof=1)

    def best_of(count):
        return (1 - np.euler_gamma) * stats.norm.ppf(1 - 1 / count) + np.euler_gamma * stats.norm.ppf(
            1 - 1 / (count * math.e)
        )

    def probability(threshold):
        return stats.norm.cdf((ratio - threshold) * math.sqrt(days - 1) / math.sqrt(variance))

    luck = max(spread * best_of(trials), best_of(1 + before) / math.sqrt(days - 1) if before else 0)
    share = effective / trials
    alike = max(spread * best_of(effective), best_of(1 + before * share) / math.sqrt(days - 1) if before else 0)
    record = 1 + variance * (stats.norm.ppf(0.95) / (ratio - luck)) ** 2
    return {
        "effective_trials": effective,
        "psr": probability(0),
        "dsr": probability(luck),
        "dsr_effective": probability(alike),
        "luck_sharpe": luck,
        "track_record_days": record if ratio > luck else None,
        "minimum_backtest_days": (best_of(trials) / ratio) ** 2 if ratio > 0 else None,
    }


def halves(cells, able):
    blocks = np.array_split(np.arange(len(cells.days)), 8)
    logits, losses, points = [], [], []
    for half in combinations(range(8), 4):
        inside = np.concatenate([blocks[number] for number in half])
        outside = np.concatenate([blocks[number] for number in range(8) if number not in half])
        ahead = [cells.lower(one, inside) for one in able]
        after = [cells.lower(one, outside) for one in able]
        best = int(np.argmax(ahead))
        rank = stats.rankdata(after)[best] / (len(able) + 1)
        logits.append(math.log(rank / (1 - rank)))
        losses.append(not cells.mean(able[best], outside) >= 0)
        points.append((ahead[best], after[best]))
    told = np.array([point for point in points if np.isfinite(point).all()])
    return {"pbo": np.mean(np.array(logits) <= 0), "pbo_loss": np.mean(losses), "pbo_slope": np.polyfit(*told.T, 1)[0]}


def superiority(net, able):
    """Stationary bootstrap, resample by resample: first where blocks may begin, then where they do."""
    sets, days = net.shape
    block = max(1.0, float(np.median(optimal_block_length(net.T)["stationary"])))
    random = np.random.Generator(np.random.PCG64(SEED))
    starts, anew = random.integers(0, days, (RESAMPLES, days)), random.random((RESAMPLES, days)) < 1 / block
    mean, deviation = net.mean(axis=1), net.std(axis=1)
    lag = np.arange(1, days)
    weight = (1 - lag / days) * (1 - 1 / block) ** lag + lag / days * (1 - 1 / block) ** (days - lag)
    long_run = []
    for one in net - mean[:, None]:
        around = [2 * (one[step:] * one[:-step]).sum() / days for step in lag]
        long_run.append(math.sqrt(max((one**2).sum() / days + weight @ around, 0)))
    clear = math.sqrt(2 * math.log(math.log(days)) / days) * np.array(long_run)
    centres = {"lower": np.maximum(mean, 0), "consistent": np.where(mean >= -clear, mean, 0), "upper": mean}
    luck, plain = {name: np.empty((RESAMPLES, sets)) for name in centres}, np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        drawn, day = [], 0
        for place in range(days):
            day = starts[number, place] if place == 0 or anew[number, place] else (day + 1) % days
            drawn.append(day)
        some = net[:, drawn]
        plain[number] = (some.mean(axis=1) - mean).max()
        for name, centre in centres.items():
            luck[name][number] = (some.mean(axis=1) - centre) / some.std(axis=1)
    observed = mean / deviation

    def p_value(lucky, seen):
        return (1 + (lucky >= seen).sum()) / (1 + RESAMPLES)

    left, superior = list(range(sets)), []
    while left:
        bound = np.quantile(luck["consistent"][:, left].max(axis=1), 0.95)
        above = [one for one in left if observed[one] > bound]
        if not above:
            break
        superior += above
        left = [one for one in left if one not in above]
    return {
        "reality_check_p": p_value(plain, mean.max()),
        **{f"spa_{name}_p": p_value(luck[name].max(axis=1), observed.max()) for name in centres},
        "superior_sets": sorted(able[one] for one in superior),
    }


def walk_forward(cells):
    first, last = cells.starts(0), cells.starts(-1) + timedelta(days=1)
    begin, net, trades, promised = first + timedelta(days=TRAIN), 0.0, 0, 0.0
    while begin < last:
        end = min(begin + timedelta(days=TEST), last)
        train = [
            place
            for place in range(len(cells.days))
            if begin - timedelta(days=TRAIN) <= cells.starts(place)
            and cells.starts(place) + timedelta(days=1) <= begin - timedelta(days=EMBARGO)
            and cells.reach[place] <= begin
        ]
        test = [place for place in range(len(cells.days)) if begin <= cells.starts(place) < end]
        if (winner := cells.winner(train)) is not None:
            count = cells.trades[winner, test].sum()
            net += cells.net[winner, test].sum()
            trades += count
            promised += cells.mean(winner, train) * count
        begin += timedelta(days=TEST)
    return {"oos_expectancy": net / trades, "walk_forward_efficiency": net / promised if promised > 0 else None}


def paths(cells):
    groups = np.array_split(np.arange(len(cells.days)), 10)
    winners = {}
    for pair in combinations(range(10), 2):
        train = []
        for place in range(len(cells.days)):
            if any(place in groups[number] for number in pair):
                continue
            for number in pair:
                begins, ends = cells.starts(groups[number][0]), max(cells.reach[one] for one in groups[number])
                if cells.reach[place] > begins and cells.starts(place) < ends + timedelta(days=EMBARGO):
                    break
            else:
                train.append(place)
        winners[pair] = cells.winner(train)
    found = []
    for path in range(9):
        net = trades = 0.0
        for number, days in enumerate(groups):
            pair = [one for one in winners if number in one][path]
            if winners[pair] is not None:
                net += cells.net[winners[pair], days].sum()
                trades += cells.trades[winners[pair], days].sum()
        found.append(net / trades)
    return found


def plateau(cells, able):
    everything = list(range(len(cells.days)))
    columns = [cells.sets[f"p.{path}"].to_list() for path in SPACE]
    place = [
        tuple(values.index(value) for values, value in zip(SPACE.values(), row, strict=True))
        for row in zip(*columns, strict=True)
    ]
    assert sorted(place) == list(product(*(range(len(values)) for values in SPACE.values())))
    scores = {}
    for one in able:
        near = [other for other in able if max(abs(a - b) for a, b in zip(place[one], place[other], strict=True)) <= 1]
        if len(near) > 1:
            scores[one] = float(np.quantile([cells.lower(other, everything) for other in near], 0.2))
    best, peak = max(scores, key=scores.get), max(cells.lower(one, everything) for one in able)
    return {"plateau_set": best, "plateau_ratio": scores[best] / peak if peak > 0 else None}


def lanes(tables, winner):
    rows = tables["lanes"].filter(pl.col("set_id") == winner).select("expectancy", "lane").rows()
    worst, name = min(rows, key=lambda row: row[0])
    return {"weakest_lane": name, "weakest_lane_expectancy": worst}


def placebo(tables, observed):
    best = tables["placebo"].filter(pl.col("kind") == "moments")["best_metric"].fill_null(-math.inf)
    return (1 + (best >= observed).sum()) / (1 + len(best))


def verdict(figures):
    passed = {
        "dsr": figures["dsr"] >= 0.95,
        "pbo": figures["pbo"] <= 0.2,
        "spa": figures["spa_consistent_p"] <= 0.05,
        "placebo": figures["placebo_p"] <= 0.05,
        "oos": figures["oos_expectancy"] > 0,
        "plateau": figures["plateau_ratio"] is not None and figures["plateau_ratio"] >= 0.5,
        "lanes": figures["weakest_lane_expectancy"] > 0,
    }
    failed = [name for name, fine in passed.items() if not fine]
    return {"supported": not failed, "failed": failed, "unsaid": []}
