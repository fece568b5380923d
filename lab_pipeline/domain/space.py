"""Which parameters of a strategy a sweep varies, over which values, and which combinations make no sense.

A space is a mapping from paths of the strategy's document to values, as in YAML or JSON:

    exit.stopLoss: [0.1, 0.2, 0.3]
    exit.trailing.distance: {from: 0.05, to: 0.4, n: 8, scale: log}
    exit.trailing: {choice: [null, {activation: 1.2, distance: 0.15}]}
    exit.targets: {ladder: {multiples: [1.5, 2, 3], fractions: [[1.0], [0.5, 0.5]], maxSteps: 2}}

Values of ranges are rounded to twelve digits, so that a tenth is 0.1. A constraint compares numbers that paths name:
`exit.targets[0].multiple - 1 > exit.stopLoss`. It holds where one of its paths is not set. It is parsed, and nothing in
it is ever run.
"""

import ast
import difflib
import itertools
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeGuard, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel

from lab_pipeline.domain.errors import FieldError, InvalidConfigError
from lab_pipeline.domain.json_text import odd_values
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.domain.text import shown

MOST_SETS = 1_000_000
MOST_VALUES = 100_000
"""Of one path."""
MOST_CONSTRAINTS = 100
LONGEST_CONSTRAINT = 1_000
DIGITS = 12
STEP_TOLERANCE = 1e-9
"""Part of a step by which the end of a range may be missed."""
SUBJECT = "space"

T = TypeVar("T")
Point = tuple[Any, ...]
"""A value for each dimension of a space, in their order."""


@dataclass(frozen=True)
class Dimension:
    """One path and its values.

    Attributes:
        path: of the strategy's document, such as `exit.targets[0].multiple`.
        values: in their order; null for every number of a range.
        low: least number of the range; `high` the largest.
        log: whether equal steps are equal ratios.
        whole: whether only whole numbers of the range are values.
    """

    path: str
    values: tuple[Any, ...] | None
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    whole: bool = False

    def at(self, share: float) -> Any:  # noqa: ANN401 - JSON has no narrower type
        """Return the value that lies at a share of it, from 0 up to below 1."""
        if self.values is not None:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        if self.whole:
            return int(_between(self.low, self.high + 1, share, log=self.log))
        return _between(self.low, self.high, share, log=self.log)


@dataclass(frozen=True)
class Constraint:
    """A comparison that sets must pass.

    Attributes:
        text: as it was written.
        paths: that it names.
    """

    text: str
    paths: tuple[str, ...]
    _holds: "Callable[[Any], Any]"

    def holds(self, document: Mapping[str, Any]) -> bool:
        """Tell whether it holds of a strategy's document; it does where one of its paths is not set or no number."""
        numbers = {path: value_at(document, path) for path in self.paths}
        if not all(isinstance(value, int | float) for value in numbers.values()):
            return True
        try:
            return bool(self._holds(numbers))
        except (ZeroDivisionError, OverflowError):
            return False


@dataclass(frozen=True)
class Space:
    """What a sweep varies.

    Attributes:
        dimensions: in the order of the document.
        constraints: that every set must pass.
    """

    dimensions: tuple[Dimension, ...]
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def parse(cls, space: Mapping[str, Any], constraints: Sequence[str] = ()) -> "Space":
        """Read a space.

        Raises:
            InvalidConfigError: naming every path or constraint that is wrong, an unknown path with the nearest one.
        """
        if not isinstance(space, Mapping):
            raise InvalidConfigError(SUBJECT, [FieldError("space", "must be an object: a path, and its values")])
        problems = odd_values(space)
        if not space:
            problems.append(FieldError("space", "no parameter to vary: name a path and its values"))
        for shorter, longer in itertools.permutations(map(str, space), 2):
            if longer.startswith((f"{shorter}.", f"{shorter}[")):
                problems.append(FieldError(longer, f"is a part of {shorter}, which is varied as a whole"))
        if len(constraints) > MOST_CONSTRAINTS:
            problems.append(FieldError("constraints", f"at most {MOST_CONSTRAINTS} are possible"))
        if problems:
            raise InvalidConfigError(SUBJECT, problems)
        dimensions = [_tried(str(path), problems, _dimension, path, values) for path, values in space.items()]
        found = [
            _tried(f"constraints[{number}]", problems, _constraint, text) for number, text in enumerate(constraints)
        ]
        if problems:
            raise InvalidConfigError(SUBJECT, problems)
        return cls(tuple(filter(None, dimensions)), tuple(filter(None, found)))

    @property
    def size(self) -> int | None:
        """How many points its grid has; null where a dimension has no end of values."""
        if any(dimension.values is None for dimension in self.dimensions):
            return None
        return math.prod(len(dimension.values or ()) for dimension in self.dimensions)

    def grid(self) -> Iterator[Point]:
        """Return every combination of values, the last dimension's changing first.

        Raises:
            InvalidConfigError: if a range does not say its steps, or there are more than `MOST_SETS`.
        """
        endless = [one.path for one in self.dimensions if one.values is None]
        if endless:
            said = "has no end of values: give the range a step or n, or search it"
            raise InvalidConfigError(SUBJECT, [FieldError(path, said) for path in endless])
        if (self.size or 0) > MOST_SETS:
            said = f"the grid has {self.size:,} sets, at most {MOST_SETS:,} are possible: take values out"
            raise InvalidConfigError(SUBJECT, [FieldError("space", said)])
        return itertools.product(*(one.values or () for one in self.dimensions))

    def document(self, base: Mapping[str, Any], point: Point) -> dict[str, Any]:
        """Return the document of a strategy with a point's values in their places.

        Raises:
            InvalidConfigError: if a place is not there, such as the third of two targets.
        """
        made = dict(base)
        owned: set[int] = set()
        for dimension, value in zip(self.dimensions, point, strict=True):
            _put(made, dimension.path, value, owned)
        return made


def value_at(document: Any, path: str) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Return what a document has at a path, null where it is not set."""
    for part in _parts(path):
        document = _below(document, part)
    return document


def leaves(path: str, value: object) -> Iterator[tuple[str, float | str | None]]:
    """Return a value's parts that are no object or list, each with its path; true and false are 1 and 0."""
    match value:
        case dict():
            for name, part in value.items():
                yield from leaves(f"{path}.{name}", part)
        case list() | tuple():
            for number, part in enumerate(value):
                yield from leaves(f"{path}[{number}]", part)
        case int() | float():
            yield path, float(value)
        case _:
            yield path, None if value is None else str(value)


def known_paths() -> frozenset[str]:
    """Return every path of a strategy's document, `[]` for any place of a list."""
    return _known()[0]


@cache
def _known() -> tuple[frozenset[str], frozenset[str]]:
    """Return every path, and those of whole numbers."""
    found = list(_paths_of(StrategyConfig, ""))
    paths, whole = (frozenset(path for path, kind in found if kind in kinds) for kinds in ((None, int), (int,)))
    return paths, whole


class _WrongError(ValueError):
    """What is wrong with a path, values or a constraint."""


def _tried(path: str, problems: list[FieldError], read: Callable[..., T], *given: object) -> T | None:
    """Return what was read, or add what is wrong with it to the problems."""
    try:
        return read(*given)
    except _WrongError as wrong:
        problems.append(FieldError(path, str(wrong)))
        return None


def _require_known(path: object) -> None:
    if not isinstance(path, str):
        raise _WrongError("is no path: it must be text")
    pattern = _pattern(path)
    if pattern not in known_paths():
        near = difflib.get_close_matches(pattern, known_paths(), n=1, cutoff=0.0)[0]
        raise _WrongError(f"is no parameter of a strategy; the nearest is {near.replace('[]', '[0]')}")


def _pattern(path: str) -> str:
    return re.sub(r"\[\d+\]", "[]", path)


def _paths_of(annotation: Any, path: str) -> Iterator[tuple[str, type | None]]:  # noqa: ANN401 - any annotation
    """Return the paths of what an annotation describes, and again with int those that it says are whole numbers."""
    if annotation is int:
        yield path, int
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _paths_of(get_args(annotation)[0], path)
    elif origin in {Union, UnionType}:
        for part in get_args(annotation):
            yield from _paths_of(part, path)
    elif origin in {tuple, list}:
        yield f"{path}[]", None
        yield from _paths_of(get_args(annotation)[0], f"{path}[]")
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            place = f"{path}.{field.alias or name}".removeprefix(".")
            yield place, None
            yield from _paths_of(field.annotation, place)


def _parts(path: str) -> list[str | int]:
    return [int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)]


def _below(node: Any, part: str | int) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """Return what an object or list has at a name or place, null if it is none or has nothing there."""
    if isinstance(part, int):
        return node[part] if isinstance(node, list) and part < len(node) else None
    return node.get(part) if isinstance(node, dict) else None


def _put(document: dict[str, Any], path: str, value: object, owned: set[int]) -> None:
    """Write a value at a path; what lies on the way is copied once a document, so that the base stays as it is."""
    parts = _parts(path)
    node: Any = document
    for part, following in itertools.pairwise(parts):
        below = _below(node, part)
        if id(below) not in owned:
            if isinstance(following, int):
                below = list(below) if isinstance(below, list) else []
            else:
                below = dict(below) if isinstance(below, dict) else {}
            owned.add(id(below))
            node[part] = below
        if isinstance(following, int) and following >= len(below):
            said = f"there are {len(below)} of them, counted from 0"
            raise InvalidConfigError(SUBJECT, [FieldError(path, said)])
        node = below
    node[parts[-1]] = value


def _dimension(path: str, values: object) -> Dimension:
    _require_known(path)
    match values:
        case list():
            return Dimension(path, _listed(values))
        case {"choice": list(choice), **rest} if not rest:
            return Dimension(path, _listed(choice))
        case {"ladder": dict(ladder), **rest} if not rest:
            return Dimension(path, _ladders(ladder))
        case dict() if "from" in values:
            return _range(path, values)
    raise _WrongError("must be a list of values, {choice: [...]}, {ladder: {...}} or {from, to, step or n, scale}")


def _listed(values: list[Any]) -> tuple[Any, ...]:
    if not values:
        raise _WrongError("has no values")
    if len(values) > MOST_VALUES:
        raise _WrongError(f"has {len(values):,} values, at most {MOST_VALUES:,} are possible")
    return tuple(values)


def _range(path: str, values: dict[str, Any]) -> Dimension:
    unknown = [name for name in values if name not in {"from", "to", "step", "n", "scale"}]
    if unknown:
        raise _WrongError(f"a range has no {shown(unknown[0])}: it has from, to, step or n, and scale")
    low, high, step, n = (values.get(name) for name in ("from", "to", "step", "n"))
    scale = values.get("scale", "linear")
    if not _is_number(low) or not _is_number(high) or not (step is None or _is_number(step)):
        raise _WrongError("from, to and step of a range must be numbers")
    if scale not in {"linear", "log"}:
        raise _WrongError(f"scale must be linear or log, not {shown(scale)}")
    if not low < high:
        raise _WrongError(f"goes nowhere: from {low} to {high}")
    if scale == "log" and low <= 0:
        raise _WrongError(f"a log scale must begin above 0, not at {low}")
    if step is not None and n is not None:
        raise _WrongError("set step or n, not both")
    if step is not None:
        return Dimension(path, _stepped(low, high, step, scale))
    if n is None:
        return Dimension(path, None, low, high, scale == "log", _pattern(path) in _known()[1])
    if isinstance(n, bool) or not isinstance(n, int) or not 2 <= n <= MOST_VALUES:  # noqa: PLR2004 - both ends
        raise _WrongError(f"n must be an integer from 2 to {MOST_VALUES:,}")
    whole = isinstance(low, int) and isinstance(high, int)
    made = (_between(low, high, number / (n - 1), log=scale == "log", whole=whole) for number in range(n))
    return Dimension(path, tuple(made))


def _stepped(low: float, high: float, step: float, scale: str) -> tuple[float, ...]:
    """Return the numbers from step to step, the last at or below the end."""
    if scale == "log" or step <= 0:
        raise _WrongError(f"step must be above 0, and linear: {step}")
    count = int((high - low) / step + STEP_TOLERANCE) + 1
    if count > MOST_VALUES:
        raise _WrongError(f"has {count:,} values, at most {MOST_VALUES:,} are possible")
    whole = isinstance(low, int) and isinstance(step, int)
    return tuple(_rounded(low + step * number, whole=whole) for number in range(count))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _between(low: float, high: float, share: float, *, log: bool, whole: bool = False) -> float:
    value = low * (high / low) ** share if log else low + (high - low) * share
    return _rounded(value, whole=whole)


def _rounded(value: float, *, whole: bool) -> float:
    """Round to as many digits as people write; a whole number between whole ends stays one."""
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if whole and rounded.is_integer() else rounded


def _ladders(ladder: dict[str, Any]) -> tuple[Any, ...]:
    """Return every ladder of ascending multiples for which there are fractions of its length."""
    unknown = [name for name in ladder if name not in {"multiples", "fractions", "maxSteps", "max_steps"}]
    if unknown:
        raise _WrongError(f"a ladder has no {shown(unknown[0])}: it has multiples, fractions and maxSteps")
    multiples, fractions = ladder.get("multiples"), ladder.get("fractions")
    if not isinstance(multiples, list) or not isinstance(fractions, list) or not multiples or not fractions:
        raise _WrongError("a ladder needs multiples, and fractions: a list of lists")
    if not all(isinstance(one, list) and one for one in fractions):
        raise _WrongError("fractions of a ladder must be lists: [[1.0], [0.5, 0.5]]")
    if not all(map(_is_number, multiples)):
        raise _WrongError("multiples of a ladder must be numbers")
    longest = max(map(len, fractions))
    most = ladder.get("maxSteps", ladder.get("max_steps", longest))
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise _WrongError("maxSteps of a ladder must be an integer from 1 on")
    ascending = sorted(set(multiples))
    if sum(math.comb(len(ascending), len(one)) for one in fractions if len(one) <= most) > MOST_VALUES:
        raise _WrongError(f"has more than {MOST_VALUES:,} ladders: take multiples or fractions out")
    made = [
        [{"multiple": multiple, "fraction": fraction} for multiple, fraction in zip(chosen, parts, strict=True)]
        for steps in range(1, most + 1)
        for parts in fractions
        if len(parts) == steps
        for chosen in itertools.combinations(ascending, steps)
    ]
    if not made:
        raise _WrongError("has no ladder: no fractions are as many as its steps may be")
    return tuple(made)


COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _constraint(text: object) -> Constraint:
    if not isinstance(text, str) or len(text) > LONGEST_CONSTRAINT:
        raise _WrongError(f"must be text of at most {LONGEST_CONSTRAINT:,} characters")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _WrongError(f"is no comparison: {shown(text)}") from None
    if not isinstance(tree, ast.Compare | ast.BoolOp | ast.UnaryOp):
        raise _WrongError(f"compares nothing: {shown(text)}")
    paths: list[str] = []
    holds = _read(tree, paths)
    return Constraint(text, tuple(paths), holds)


def _read(node: ast.AST, paths: list[str]) -> Callable[[Any], Any]:
    """Return how a node is worked out of the numbers at its paths, which are added to `paths`."""
    match node:
        case ast.BoolOp(op=op, values=values):
            parts = [_read(value, paths) for value in values]
            join = all if isinstance(op, ast.And) else any
            return lambda numbers: join(part(numbers) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _read(operand, paths)
            return lambda numbers: not inner(numbers)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _read(operand, paths)
            return lambda numbers: -inner(numbers)
        case ast.Compare(left=left, ops=ops, comparators=comparators) if all(type(op) in COMPARISONS for op in ops):
            sides = [_read(side, paths) for side in (left, *comparators)]
            compare = [COMPARISONS[type(op)] for op in ops]
            return lambda numbers: all(
                one(first(numbers), second(numbers))
                for one, (first, second) in zip(compare, itertools.pairwise(sides), strict=True)
            )
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            first, second, work = _read(left, paths), _read(right, paths), ARITHMETIC[type(op)]
            return lambda numbers: work(first(numbers), second(numbers))
        case ast.Constant(value=bool() | None | str() | bytes() | complex()):
            raise _WrongError(f"compares numbers, not {node.value!r}")
        case ast.Constant(value=int() | float() as number):
            return lambda _: number
        case ast.Name() | ast.Attribute() | ast.Subscript():
            path = _path_of(node)
            _require_known(path)
            paths.append(path)
            return lambda numbers: numbers[path]
    raise _WrongError(f"may hold paths, numbers, + - * /, comparisons, and, or, not; no {type(node).__name__}")


def _path_of(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=owner, attr=name):
            return f"{_path_of(owner)}.{name}"
        case ast.Subscript(value=owner, slice=ast.Constant(value=int() as number)) if number >= 0:
            return f"{_path_of(owner)}[{number}]"
    raise _WrongError(f"names no path: {ast.unparse(node)}")
