"""Which calls are the first to name a token, and which repeat what was said."""

import polars as pl

from lab_pipeline.domain.backtest import FirstMention

MS_PER_DAY = 86_400_000


def first_mentions(calls: pl.DataFrame, among: pl.DataFrame, rule: FirstMention) -> pl.DataFrame:
    """Return the calls that are no repeats.

    Whether a call counts hangs on earlier calls alone, so a range of calls is what it is in any longer range.

    Args:
        calls: columns of `frames.CALLS`, sorted by called_at and call_id.
        among: every call that there is, sorted likewise.
        rule: what a repeat is.
    """
    window = rule.window_days * MS_PER_DAY
    is_hexadecimal = pl.col("mint").str.starts_with("0x")  # written in any case
    token = pl.when(is_hexadecimal).then(pl.col("mint").str.to_lowercase()).otherwise("mint")
    key = token if rule.by == "token" else pl.concat_str("caller", token, separator="\0")
    counted: dict[str, int] = {}
    first = []
    for call_id, at, name in among.select("call_id", pl.col("called_at").to_physical(), key.alias("key")).iter_rows():
        last = counted.get(name)
        if last is None or at - last > window:
            counted[name] = at
            first.append(call_id)
    counts = pl.DataFrame({"call_id": first}, schema={"call_id": pl.String})
    return calls.join(counts, on="call_id", how="semi", maintain_order="left")
