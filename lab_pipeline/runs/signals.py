"""Signals of the lab's own: files in one directory, each with a function `signal`.

A strategy names a signal, never a place: the name is that of a file in the directory, and nothing that a request says
is executed. What a run executes is the text that was hashed into its fingerprint, in whatever process.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from lab_pipeline.domain.conditions import Registered
from lab_pipeline.domain.errors import FieldError, LabError
from lab_pipeline.domain.strategy import StrategyConfig
from lab_pipeline.engine.signals import ENTRY_POINTS, Signal, find_signal, installed

FUNCTION = "signal"


@dataclass(frozen=True)
class Signals:
    """The registered signals of a strategy.

    Attributes:
        identities: by name, the sha256 (hex) of the file, or package and version.
        sources: by name, the text of each file.
    """

    identities: dict[str, str]
    sources: dict[str, str]

    @classmethod
    def of(cls, config: StrategyConfig, directory: Path | None) -> "Signals":
        """Read the signals that a strategy names; what is not there is left out, and named by `unusable`.

        Raises:
            LabError: if a file cannot be read.
        """
        identities, sources = {}, {}
        for _, condition in _registered(config):
            name = condition.name
            path = _file(directory, name)
            if path is not None:
                sources[name] = _text(path, name)
                identities[name] = hashlib.sha256(sources[name].encode()).hexdigest()
            elif (found := installed(name)) is not None:
                package = found.dist
                identities[name] = f"{package.name}=={package.version}" if package else found.value
        return cls(identities, sources)

    def functions(self) -> dict[str, Signal]:
        """Execute the files and return their functions.

        Raises:
            LabError: if a file fails, or has no such function.
        """
        return {name: _function(name, source) for name, source in self.sources.items()}


def unusable(config: StrategyConfig, directory: Path | None) -> list[FieldError]:
    """Name, by its path, every registered signal of a strategy that is not there, fails, or looks ahead."""
    tried = ((path, _why_not(condition, directory)) for path, condition in _registered(config))
    return [FieldError(path, why_not) for path, why_not in tried if why_not is not None]


def _why_not(condition: Registered, directory: Path | None) -> str | None:
    """Say why a signal cannot be used, or null: it is executed, as a run would, on a made-up market."""
    name = condition.name
    path = _file(directory, name)
    if path is None and installed(name) is None:
        return f"signal {name!r} is neither a file {_place(directory, name)} nor registered as {ENTRY_POINTS}"
    try:
        find_signal(condition, {} if path is None else {name: _function(name, _text(path, name))})
    except LabError as error:
        return str(error)
    return None


def _registered(config: StrategyConfig) -> Iterator[tuple[str, Registered]]:
    """Yield the registered signals of a strategy, each with the path of its name."""
    for block, when in (("entry", config.entry.when), ("exit", config.exit.when)):
        if when is not None:
            join = "any" if when.all_ is None else "all"
            for number, condition in enumerate(when.conditions):
                if isinstance(condition, Registered):
                    yield f"{block}.when.{join}[{number}].name", condition


def _text(path: Path, name: str) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"signal {name!r}: {path} cannot be read: {error}") from None


def _place(directory: Path | None, name: str) -> str:
    return f"{name}.py" if directory is None else str(directory / f"{name}.py")


def _file(directory: Path | None, name: str) -> Path | None:
    """Return the file of a signal: one of the directory itself, wherever links in it lead."""
    if directory is None:
        return None
    path = directory / f"{name}.py"
    return path if path.is_file() and path.resolve().parent == directory.resolve() else None


@cache
def _function(name: str, source: str) -> Signal:
    """Execute the text of a file, once a process, and return its function."""
    module = ModuleType(f"lab_signal_{name}")
    try:
        exec(compile(source, f"{name}.py", "exec"), module.__dict__)  # noqa: S102 - the lab's owner put the file there
    except (Exception, SystemExit) as error:  # it is tried in servers, too
        raise LabError(f"signal {name!r} failed: {type(error).__name__}: {error}") from error
    function = getattr(module, FUNCTION, None)
    if not callable(function):
        raise LabError(f"signal {name!r}: {name}.py has no function {FUNCTION}(candles, **arguments)")
    signal: Signal = function
    return signal
