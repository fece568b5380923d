"""How every compiled function of the engine is compiled."""

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=np.generic)


_kept: dict[str, Any] = {}


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile with numba: exact IEEE arithmetic, the GIL released, the machine code kept on disk if there is a place.

    No fast-math, so that results are the same on every machine and the same as in plain Python. numba's
    cache looks at the defining file only: a compiled function must not call one of another file.
    """
    options: Any = {"nogil": True, "fastmath": False, "error_model": "numpy"}
    try:
        made = njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no directory that it may write: the code is made again in every process
        return cast("Callable[P, R]", njit(**options)(function))
    try:
        made._cache._cache_file._load_index()  # noqa: SLF001 - nothing public reads it
    except (AttributeError, ImportError):  # kept by an earlier version, whose types had other names
        made._cache.flush()  # noqa: SLF001
    _kept[f"{function.__module__}.{function.__qualname__}"] = made
    return cast("Callable[P, R]", made)


def types_in_use() -> dict[str, list[Any]]:
    """Return, of each function that `compiled` made, the types of arguments for which this process has machine code."""
    return {name: list(made.signatures) for name, made in _kept.items()}


def load(types: Mapping[str, list[Any]]) -> None:
    """Load the machine code for what `types_in_use` told in another process, from where it is kept on disk."""
    for name, signatures in types.items():
        for signature in signatures:
            _kept[name].compile(signature)


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """Compile, as `compiled` does, a function that only compiled functions call and that allocates nothing.

    It counts no references to the arrays it is given, which its caller holds; counted, they take half the kernel's
    time. The option has no public name: numba's own array functions are compiled with it.
    """
    options: Any = {"nogil": True, "fastmath": False, "error_model": "numpy", "_nrt": False}
    return cast("Callable[P, R]", njit(**options)(function))


def readonly(values: npt.NDArray[T]) -> npt.NDArray[T]:
    """Return a view that cannot be written to: a compiled function is compiled once for all inputs of one type."""
    view = values.view()
    view.flags.writeable = False
    return view
