"""The net return of every trade of every set: what a sweep keeps beside its sums if it is asked for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain.candles import Floats, Integers
from lab_pipeline.engine.kernel import Records

LATER = np.dtype([("call", np.int64), ("place", np.int64), ("trade_no", np.int32), ("net", np.float64)])
"""One record a trade that is not the first on its call."""


@dataclass(eq=False)
class Noted:
    """Net returns as they are found; sets lie in the order of a plan. It can be pickled.

    Attributes:
        first: of the first trade, by call and set; NaN without one.
        later: records of `LATER`, in any order.
    """

    first: Floats
    later: list[Records] = field(default_factory=list)

    @classmethod
    def empty(cls, calls: int, sets: int) -> "Noted":
        """Return room for returns of which none is there."""
        return cls(np.full((calls, sets), np.nan))

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return what was noted as plain arrays by name."""
        later = np.concatenate([np.empty(0, LATER), *self.later])
        return {"returns.first": self.first, "returns.later": later.view(np.uint8)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "Noted":
        """Return what `arrays` has told.

        Raises:
            KeyError: if one is missing.
        """
        return cls(arrays["returns.first"], [arrays["returns.later"].view(LATER)])

    def put(self, calls: Integers, place: int, net: Floats) -> None:
        """Note first trades by call and set, NaN for none; `place` is that of the first set."""
        self.first[calls, place : place + net.shape[1]] = net

    def add(self, calls: Integers, place: int, trades: Records) -> None:
        """Note trades of one set (`kernel.TRADE`); `calls` are theirs."""
        begins = trades["trade_no"] == 1
        self.first[calls[begins], place] = trades["net_return"][begins]
        self.add_later(calls[~begins], place, trades[~begins])

    def add_later(self, calls: Integers, places: Integers | int, trades: Records) -> None:
        """Note trades that are not the first on their calls, by `trade_no` and `net_return`, of sets at some places."""
        if len(trades):
            later = np.empty(len(trades), LATER)
            later["call"], later["place"] = calls, places
            later["trade_no"], later["net"] = trades["trade_no"], trades["net_return"]
            self.later.append(later)

    def of(self, calls: Integers) -> "Noted":
        """Return what was noted of some calls, whose later trades are all there are."""
        return Noted(self.first[calls], self.later)

    def take(self, calls: Integers, other: "Noted") -> None:
        """Take over what was noted of some calls."""
        self.first[calls] = other.first
        self.later += other.later


@dataclass(frozen=True, eq=False)
class Returns:
    """Net returns of the trades of all sets.

    Attributes:
        calls: ids, in the order of `called_at` and `call_id`. Length C.
        day: of each call, its place among the days of the sweep; `caller` likewise.
        noted: what was found.
        places: of each set, where it lies in what was found.
    """

    calls: pl.Series
    day: Integers
    caller: Integers
    noted: Noted
    places: Integers

    def sums(self) -> tuple[Floats, npt.NDArray[np.int16]]:
        """Return the sum of the net returns, and the number of trades, by call and set; both of shape (C, S)."""
        net = self.noted.first[:, self.places]
        trades = (~np.isnan(net)).astype(np.int16)
        net[np.isnan(net)] = 0.0
        later, sets = self._later()
        np.add.at(net, (later["call"], sets), later["net"])
        np.add.at(trades, (later["call"], sets), 1)
        return net, trades

    def frames(self, sets_at_once: int) -> Iterable[pl.DataFrame]:
        """Iterate over all trades, some sets at a time: `set_id, call_id, trade_no, net_return`, in this order."""
        later, sets = self._later()
        for begin in range(0, len(self.places), sets_at_once):
            part = self.places[begin : begin + sets_at_once]
            net = self.noted.first[:, part].T
            number, call = np.nonzero(~np.isnan(net))
            mine = (sets >= begin) & (sets < begin + len(part))
            of_call = np.concatenate([call, later["call"][mine]])
            of_set = np.concatenate([begin + number, sets[mine]])
            trade_no = np.concatenate([np.ones(len(call), np.int32), later["trade_no"][mine]])
            order = np.lexsort((trade_no, of_call, of_set))
            yield pl.DataFrame(
                {
                    "set_id": of_set[order].astype(np.int32),
                    "call_id": self.calls.gather(of_call[order]),
                    "trade_no": trade_no[order],
                    "net_return": np.concatenate([net[number, call], later["net"][mine]])[order],
                }
            )

    def _later(self) -> tuple[Records, Integers]:
        """Return the trades that are not the first on their call in one order, and the set of each."""
        later = np.concatenate([np.empty(0, LATER), *self.noted.later])
        sets = np.argsort(self.places)[later["place"]]
        order = np.lexsort((later["trade_no"], later["call"], sets))
        return later[order], sets[order]
