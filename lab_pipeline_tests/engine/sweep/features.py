"""Which rules decided something in a backtest: counted, so that a comparison can tell that it saw all of them."""

from collections import Counter
from itertools import chain

import polars as pl

from lab_pipeline.domain.enums import EntryKind, ExitUse, FillReason, ImpactModel, IntrabarPolicy, Outcome
from lab_pipeline.domain.strategy import AtrDistance, StrategyConfig
from lab_pipeline.engine import Simulation

STOPS = (FillReason.STOP_LOSS, FillReason.BREAK_EVEN, FillReason.TRAILING_STOP)
FEATURES = frozenset(
    chain(
        (f"entry {kind}" for kind in EntryKind),
        (f"exit {reason}" for reason in FillReason if reason not in (FillReason.ENTRY, FillReason.REENTRY)),
        (f"outcome {outcome}" for outcome in Outcome),
        (f"ambiguous {policy}" for policy in IntrabarPolicy),
        (f"impact {model}" for model in ImpactModel),
        ["delay", "entry when", "re-entry", "several targets", "part of a position left to the stop"],
        ["stop in true ranges", "trail in true ranges", "trail armed later", "stop below its level", "haircut"],
        ["fee", "slippage", "fixed fee", "largest share of the volume", "plan", "plan with shares of its own"],
        ["finer candles tell", "a table decides", "the kernel decides"],
    )
)


def features(config: StrategyConfig, backtest: Simulation, by_kernel: int) -> Counter[str]:
    """Return how many trades, or calls, each rule decided; `by_kernel` of the calls were left to the kernel."""
    trades, outcomes, leave, costs = backtest.trades, backtest.outcomes, config.exit, config.costs
    seen: Counter[str] = Counter()
    for reason, count in trades["exit_reason"].value_counts().rows():
        seen[f"exit {reason}"] += count
    for outcome, count in outcomes["outcome"].value_counts().rows():
        seen[f"outcome {outcome}"] += count
    sold = backtest.fills.filter(pl.col("side") == "sell")
    targets = sold.group_by("call_id", "trade_no").agg(
        targets=(pl.col("reason") == FillReason.TARGET).sum(), stops=pl.col("reason").is_in(STOPS).sum()
    )
    by_reason = dict(trades["exit_reason"].value_counts().rows())
    stopped, whole = sum(by_reason.get(reason, 0) for reason in STOPS), len(trades)
    trailing = leave.trailing
    seen += Counter(
        {
            f"entry {config.entry.kind}": whole,
            f"impact {costs.impact.model}": whole,
            f"ambiguous {config.intrabar}": int(outcomes["ambiguous_candles"].sum()),
            "finer candles tell": int(outcomes["ambiguous_resolved"].sum()),
            "delay": whole * (config.entry.delay_minutes > 0),
            "entry when": whole * (config.entry.when is not None),
            "re-entry": int((trades["trade_no"] > 1).sum()),
            "several targets": int((targets["targets"] > 1).sum()),
            "part of a position left to the stop": int(((targets["targets"] > 0) & (targets["stops"] > 0)).sum()),
            "stop in true ranges": by_reason.get("stop_loss", 0) * isinstance(leave.stop_loss, AtrDistance),
            "trail in true ranges": by_reason.get("trailing_stop", 0)
            * (trailing is not None and isinstance(trailing.distance, AtrDistance)),
            "trail armed later": by_reason.get("trailing_stop", 0) * (trailing is not None and trailing.activation > 1),
            "stop below its level": stopped * (leave.stop_fill.through > 0),
            "haircut": by_reason.get("end_of_data", 0) * (config.end_of_data.haircut > 0),
            "fee": whole * (costs.fee_bps > 0),
            "slippage": whole * (costs.slippage_bps > 0),
            "fixed fee": whole * (costs.fixed_fee > 0),
            "largest share of the volume": whole * (getattr(costs.impact, "max_share", None) is not None),
            "plan": whole * (leave.use is ExitUse.SIGNAL),
            "plan with shares of its own": whole * (leave.use is ExitUse.SIGNAL and bool(leave.target_fractions)),
            "the kernel decides": by_kernel,
            "a table decides": int(outcomes["trades"].gt(0).sum()) - by_kernel,
        }
    )
    return seen
