"""From a strategy and a space to its sets, and to what of them is the same: entries, levels, decisions.

Sets whose calls are bought alike form a group: its calls are read once. Within a group, sets that differ only in what
their fills are worth (costs, how far stops fall, what the end of the candles takes, re-entries) share one decision.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from lab_pipeline.domain.candles import Integers
from lab_pipeline.domain.enums import ExitUse
from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.model import canonical_json
from lab_pipeline.domain.space import MOST_SETS, SUBJECT, Point, Space, leaves
from lab_pipeline.domain.strategy import AmmImpact, AtrDistance, Strategy, StrategyConfig, minutes_to_ms
from lab_pipeline.engine.compiled import readonly
from lab_pipeline.engine.history import reach_of
from lab_pipeline.engine.rules import POLICIES
from lab_pipeline.engine.sweep.touch import Block, Numbers

SETS_A_BLOCK = 2_048
"""Sets that are decided together: what is written of them stays in a core's memory."""
GROUPING = ("entry", "horizonMinutes", "filters", "exit.when", "exit.use", "costs.impact")
"""Paths that decide which calls are bought, where, and what is asked of them."""
MOST_KEPT = 100
"""Invalid sets that are told in full; all are counted."""


class Way(IntEnum):
    """Whether fills are worth what they are worth whatever their size, so that tables settle them, too."""

    TABLES = 0
    SIZED = 1


class Decision(NamedTuple):
    """All that decides the rows and levels of a first trade, given its entry.

    `stop` is a fraction or true ranges (their n and k), `trail` an activation before either; `policy` is the kernel's.
    `planned` tells whether what the caller posted holds, `own` whether there are rules for a call without it, `shares`
    what the caller's targets sell.
    """

    stop: float | tuple[int, float] | None
    trail: tuple[float, float | tuple[int, float]] | None
    hold: int | None
    even: int
    targets: tuple[tuple[float, float], ...]
    policy: int
    planned: bool
    own: bool
    shares: tuple[float, ...]


class Worth(NamedTuple):
    """What a trade's fills are worth, and whether there may be another trade."""

    fee: float
    slip: float
    through: float
    haircut: float
    retrace: float
    again: bool


class Rules(NamedTuple):
    """One set: number of its group, how it is settled, and what decides its trades."""

    group: int
    way: Way
    decision: Decision
    worth: Worth


_Alike = tuple[Decision, Worth | None]


@dataclass(frozen=True)
class InvalidSet:
    """A point of a space that is no strategy.

    Attributes:
        number: of the point, from 0 on in the order in which they were asked for.
        values: by path.
        problems: what is wrong, by path.
    """

    number: int
    values: dict[str, Any]
    problems: tuple[FieldError, ...]


class Sets:
    """The sets of a sweep: distinct valid configurations, in the order in which they were asked for.

    Attributes:
        space: what is varied.
        hashes: of each set's configuration, as `StrategyConfig.config_hash` gives them.
        rules: of each set.
        groups: a configuration of each group; what its sets ask of calls and entries is the same.
        readers: a configuration of each kind that reads finer candles or a pool.
        asked: points that were asked for.
        duplicates: of them that repeat the configuration of an earlier one.
        excluded: of them that break a constraint.
        invalid_count: of them that are no strategies; `invalid` has the first.
    """

    def __init__(self, base: StrategyConfig, space: Space, points: Iterable[Point] | None = None) -> None:
        """Take the sets of some points of a space, of its grid by default.

        Raises:
            InvalidConfigError: if there are too many, or no set is left, saying why.
        """
        self._base = (base.config if isinstance(base, Strategy) else base).to_json_dict()
        self.space = space
        self.hashes: list[str] = []
        self.rules: list[Rules] = []
        self.groups: list[StrategyConfig] = []
        self.readers: dict[tuple[str | None, bool], StrategyConfig] = {}
        self.invalid: list[InvalidSet] = []
        self.asked, self.duplicates, self.excluded, self.invalid_count = 0, 0, 0, 0
        self._points: list[Point] = []
        self._group_of: dict[bytes, int] = {}
        self._decisions: dict[Decision, Decision] = {}
        self._plans: dict[int, Plan] = {}
        self._several = any(_touches(one.path, other) for one in space.dimensions for other in GROUPING)
        known: set[str] = set()
        for point in islice(space.grid() if points is None else points, MOST_SETS + 1):
            self._add(point, known)
        if self.asked > MOST_SETS:
            raise InvalidConfigError(SUBJECT, [FieldError("", f"at most {MOST_SETS:,} sets are possible")])
        if not self.hashes:
            raise InvalidConfigError(SUBJECT, self._why_none())

    def __len__(self) -> int:
        return len(self.hashes)

    def config(self, number: int) -> StrategyConfig:
        """Return the configuration of a set."""
        return StrategyConfig.of_plain(self.space.document(self._base, self._points[number]))

    def values(self, number: int) -> dict[str, Any]:
        """Return the values of a set by path."""
        return self._named(self._points[number])

    def plan(self, timeframe: int) -> "Plan":
        """Return the sets laid out for candles of a length in milliseconds; made once for all sweeps."""
        if timeframe not in self._plans:
            self._plans[timeframe] = Plan(self, timeframe)
        return self._plans[timeframe]

    def frame(self) -> pl.DataFrame:
        """Return `set_id`, `config_hash` and a column `p.` and path for each value; null where it is not set.

        A value of several parts has a column each, such as `p.exit.targets[1].multiple`. Columns are Float64, or
        String where a value is text.
        """
        columns: dict[str, list[float | str | None]] = {}
        for number, point in enumerate(self._points):
            for dimension, value in zip(self.space.dimensions, point, strict=True):
                for path, leaf in leaves(dimension.path, value):
                    columns.setdefault(path, [None] * len(self))[number] = leaf
        made = [pl.Series("set_id", range(len(self)), pl.Int32), pl.Series("config_hash", self.hashes, pl.String)]
        for path, column in columns.items():
            if any(isinstance(value, str) for value in column):
                texts = [None if value is None else str(value) for value in column]
                made.append(pl.Series(f"p.{path}", texts, pl.String))
            else:
                made.append(pl.Series(f"p.{path}", column, pl.Float64))
        return pl.DataFrame(made)

    def _add(self, point: Point, known: set[str]) -> None:
        number = self.asked
        self.asked += 1
        try:
            document = self.space.document(self._base, point)
            if not all(constraint.holds(document) for constraint in self.space.constraints):
                self.excluded += 1
                return
            config = StrategyConfig.of_plain(document)
        except InvalidConfigError as error:
            self.invalid_count += 1
            if len(self.invalid) < MOST_KEPT:
                self.invalid.append(InvalidSet(number, self._named(point), error.errors))
            return
        digest = config.config_hash()
        if digest in known:
            self.duplicates += 1
            return
        known.add(digest)
        self.hashes.append(digest)
        self._points.append(point)
        self._note_reader(config)
        decision = _decision(config)
        self.rules.append(
            Rules(
                self._group(config, document),
                Way.SIZED if config.costs.by_size else Way.TABLES,
                self._decisions.setdefault(decision, decision),
                _worth(config),
            )
        )

    def _group(self, config: StrategyConfig, document: Mapping[str, Any]) -> int:
        """Return the number of a set's group, which is what its calls are asked for and how they are bought."""
        if not self._several and self.groups:
            return 0
        leave, pool = document["exit"], isinstance(config.costs.impact, AmmImpact)
        asked = (document["entry"], document["horizonMinutes"], document["filters"])
        key = canonical_json([*asked, leave.get("when"), leave.get("use"), pool])
        if key not in self._group_of:
            self._group_of[key] = len(self.groups)
            self.groups.append(config)
        return self._group_of[key]

    def _note_reader(self, config: StrategyConfig) -> None:
        pool = isinstance(config.costs.impact, AmmImpact)
        if pool or config.finer_timeframe:
            without = isinstance(config.costs.impact, AmmImpact) and config.costs.impact.liquidity is None
            self.readers.setdefault((config.finer_timeframe, without), config)

    def _named(self, point: Point) -> dict[str, Any]:
        return dict(zip((dimension.path for dimension in self.space.dimensions), point, strict=True))

    def _why_none(self) -> list[FieldError]:
        if self.invalid:
            first = self.invalid[0]
            values = canonical_json(first.values).decode()
            return [
                FieldError("", f"none of {self.asked:,} sets is a strategy; the first is {values}"),
                *first.problems,
            ]
        if self.excluded:
            return [FieldError("constraints", f"none of {self.asked:,} sets passes them")]
        return [FieldError("space", "there is no set")]


def _touches(path: str, other: str) -> bool:
    """Tell whether one of two paths is the other or a part of it."""
    return f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}.") or path.startswith(f"{other}[")


def _decision(config: StrategyConfig) -> Decision:
    leave = config.exit
    trailing = leave.trailing
    return Decision(
        stop=None if leave.stop_loss is None else _size(leave.stop_loss),
        trail=None if trailing is None else (trailing.activation, _size(trailing.distance)),
        hold=None if leave.max_hold_minutes is None else minutes_to_ms(leave.max_hold_minutes),
        even=leave.break_even_after or 0,
        targets=tuple((target.multiple, target.fraction) for target in leave.targets),
        policy=POLICIES.index(config.intrabar),
        planned=leave.use is ExitUse.SIGNAL,
        own=leave.has_rules,
        shares=leave.target_fractions or (),
    )


def _size(distance: float | AtrDistance) -> float | tuple[int, float]:
    return (distance.atr.n, distance.atr.k) if isinstance(distance, AtrDistance) else distance


def _worth(config: StrategyConfig) -> Worth:
    return Worth(
        fee=config.costs.fee_bps / 1e4,
        slip=config.costs.slippage_bps / 1e4,
        through=config.exit.stop_fill.through,
        haircut=config.end_of_data.haircut,
        retrace=config.reentry.retrace if config.reentry else 0.0,
        again=config.reentry is not None and config.reentry.max_count > 0,
    )


@dataclass(frozen=True, eq=False)
class Group:
    """The sets whose calls are bought alike, at consecutive places of a plan.

    Attributes:
        config: of one of them.
        ranges: candles and reach, in milliseconds, of the true ranges that they count in.
        blocks: sets that tables decide, each block with the place of its first.
        sized: places of sets with the same fills, whose costs their size decides, each with a block of one of them.
    """

    config: StrategyConfig
    ranges: tuple[tuple[int, int], ...]
    blocks: tuple[tuple[int, Block], ...]
    sized: tuple[tuple[range, Block], ...]


class Plan:
    """The sets of a sweep in the order in which they are decided.

    Attributes:
        groups: of the sets.
        order: set at each place; `places` the place of each set.
    """

    def __init__(self, sets: Sets, timeframe: int) -> None:
        """Lay out sets; `timeframe` in milliseconds."""
        members: list[dict[Way, dict[_Alike, list[int]]]] = [{way: {} for way in Way} for _ in sets.groups]
        for number, one in enumerate(sets.rules):
            alike = (one.decision, one.worth._replace(fee=0.0, slip=0.0) if one.way is Way.SIZED else None)
            members[one.group][one.way].setdefault(alike, []).append(number)
        order: list[int] = []
        groups = []
        for config, member in zip(sets.groups, members, strict=True):
            counts = sorted({n for way in Way for alike in member[way] for n in _ranges(alike[0])})
            numbers = [number for same in member[Way.TABLES].values() for number in same]
            blocks, sized = [], []
            for begin in range(0, len(numbers), SETS_A_BLOCK):
                part = [sets.rules[number] for number in numbers[begin : begin + SETS_A_BLOCK]]
                blocks.append((len(order) + begin, block_of(part, counts)))
            order += numbers
            for same in member[Way.SIZED].values():
                places = range(len(order), len(order) + len(same))
                sized.append((places, block_of([sets.rules[same[0]]], counts)))
                order += same
            groups.append(
                Group(
                    config=config,
                    ranges=tuple((n, reach_of(n + 1, timeframe)) for n in counts),
                    blocks=tuple(blocks),
                    sized=tuple(sized),
                )
            )
        self.groups = tuple(groups)
        self.order: Integers = np.array(order, np.int64)
        self.places: Integers = np.argsort(self.order)


def _ranges(decision: Decision) -> list[int]:
    """Return of how many candles the true ranges are that a decision counts in."""
    sizes = (decision.stop, decision.trail[1] if decision.trail else None)
    return [size[0] for size in sizes if isinstance(size, tuple)]


def block_of(rules: list[Rules], counts: list[int]) -> Block:
    """Return sets as tables decide them; equal decisions lie next to one another.

    Args:
        rules: of the sets.
        counts: of candles, of the true ranges in their order.
    """
    first_set = [0]
    decisions: list[Decision] = []
    for place, one in enumerate(rules):
        if not decisions or decisions[-1] is not one.decision:
            decisions.append(one.decision)
            first_set.append(place)
        first_set[-1] = place + 1
    multiples = sorted({multiple for decision in decisions for multiple, _ in decision.targets})
    stops = sorted({_by_range(decision.stop, counts) for decision in decisions if decision.stop is not None})
    trails = sorted({_trail(decision.trail, counts) for decision in decisions if decision.trail is not None})
    holds = sorted({decision.hold for decision in decisions if decision.hold is not None})
    place_of = {multiple: place for place, multiple in enumerate(multiples)}
    stop_of, trail_of = ({value: place for place, value in enumerate(values)} for values in (stops, trails))
    hold_of = {hold: place for place, hold in enumerate(holds)}
    worths = list(dict.fromkeys(one.worth for one in rules))
    worth_of = {worth: place for place, worth in enumerate(worths)}
    fee, slip = (np.array([getattr(worth, name) for worth in worths]) for name in ("fee", "slip"))
    return Block(
        multiples=_floats(multiples),
        stop_range=_integers(number for number, _ in stops),
        stop_size=_floats(size for _, size in stops),
        trail_activation=_floats(activation for activation, _, _ in trails),
        trail_range=_integers(number for _, number, _ in trails),
        trail_size=_floats(size for _, _, size in trails),
        holds=_integers(holds),
        stop=_numbers(-1 if one.stop is None else stop_of[_by_range(one.stop, counts)] for one in decisions),
        trail=_numbers(-1 if one.trail is None else trail_of[_trail(one.trail, counts)] for one in decisions),
        hold=_numbers(-1 if one.hold is None else hold_of[one.hold] for one in decisions),
        even=_numbers(one.even for one in decisions),
        policy=_numbers(one.policy for one in decisions),
        planned=_flags(one.planned for one in decisions),
        own=_flags(one.own for one in decisions),
        first_share=_numbers(np.cumsum([0] + [len(one.shares) for one in decisions])),
        shares=_floats(share for one in decisions for share in one.shares),
        first_step=_numbers(np.cumsum([0] + [len(one.targets) for one in decisions])),
        step_multiple=_numbers(place_of[multiple] for one in decisions for multiple, _ in one.targets),
        step_fraction=_floats(fraction for one in decisions for _, fraction in one.targets),
        first_set=_numbers(first_set),
        worth=_numbers(worth_of[one.worth] for one in rules),
        bought_at=readonly(1.0 + slip),
        bought_fee=readonly(1.0 + fee),
        sold_at=readonly(1.0 - slip),
        sold_fee=readonly(1.0 - fee),
        through=_floats(worth.through for worth in worths),
        haircut=_floats(worth.haircut for worth in worths),
        retrace=_floats(worth.retrace for worth in worths),
        again=_flags(worth.again for worth in worths),
    )


def _by_range(size: float | tuple[int, float], counts: list[int]) -> tuple[int, float]:
    """Return the number of the true range that a distance counts in, -1 for a fraction, and how many or which."""
    return (counts.index(size[0]), size[1]) if isinstance(size, tuple) else (-1, size)


def _trail(trail: tuple[float, float | tuple[int, float]], counts: list[int]) -> tuple[float, int, float]:
    activation, size = trail
    return (activation, *_by_range(size, counts))


def _floats(values: Iterable[float]) -> npt.NDArray[np.float64]:
    return readonly(np.fromiter(values, np.float64))


def _integers(values: Iterable[int]) -> Integers:
    return readonly(np.fromiter(values, np.int64))


def _numbers(values: Iterable[int]) -> Numbers:
    return readonly(np.fromiter(values, np.int32))


def _flags(values: Iterable[bool]) -> npt.NDArray[np.bool_]:
    return readonly(np.fromiter(values, np.bool_))
