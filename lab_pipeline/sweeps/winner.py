"""The winner of a sweep as a run: the backtest of it that every sweep publishes."""

from datetime import datetime

from lab_pipeline.domain.backtest import ResolvedSpec, TimeRange
from lab_pipeline.domain.errors import ConflictError
from lab_pipeline.domain.summary import Summary
from lab_pipeline.runs.artifacts import SUMMARY, DamagedArtifactError, Manifest, Publication
from lab_pipeline.runs.published import PublishedRun
from lab_pipeline.runs.strategies import StrategyStore
from lab_pipeline.sweeps.sets import set_config
from lab_pipeline.sweeps.spec import SweepSpec
from lab_pipeline.sweeps.store import REMEDY, TOP, SweepStore

FIRST = f"{TOP}/1"
"""Directory of the backtest of the best set."""


def winner_run(store: SweepStore, strategies: StrategyStore, sweep_id: str) -> PublishedRun:
    """Return the backtest of the winner, on the days that selected it; its id is that of the sweep.

    Raises:
        ConflictError: if no set could win, or the strategy is no longer as it was.
        UnknownSweepError: if there is no such sweep.
        DamagedArtifactError: if files of it are lost.
    """
    manifest = store.manifest(sweep_id)
    selection, space = (store.document(sweep_id, name) for name in ("selection", "space"))
    if selection["winner"] is None:
        raise ConflictError(f"no set of sweep {sweep_id} could win, so there is none to show")
    files = tuple(
        file.model_copy(update={"name": file.name.removeprefix(f"{FIRST}/")})
        for file in manifest.files
        if file.name.startswith(f"{FIRST}/")
    )
    whole = TimeRange(start=datetime.fromisoformat(space["start"]), end=datetime.fromisoformat(space["end"]))
    asked = SweepSpec.parse(manifest.spec).backtest(whole)
    published = Publication(store.storage, sweep_id, FIRST)
    try:
        path = published.path(next(file for file in files if file.name == SUMMARY))
        summary = Summary.model_validate_json(path.read_bytes())
    except (OSError, ValueError, StopIteration):
        raise DamagedArtifactError(f"{published.place}/{SUMMARY} is lost or damaged. {REMEDY}") from None
    spec = ResolvedSpec(
        strategy_id=asked.strategy_id,
        strategy_version=manifest.strategy_version,
        strategy=set_config(store, strategies, sweep_id, selection["winner"]),
        universe=asked.universe,
        timeframe=asked.timeframe,
        range=whole,
        seed=asked.seed,
        params={},
    )
    described = Manifest(
        run_id=sweep_id,
        fingerprint=manifest.fingerprint,
        spec=spec,
        snapshot=manifest.snapshot,
        engine_version=manifest.engine_version,
        library_versions=manifest.library_versions,
        created_at=manifest.created_at,
        summary=summary,
        files=files,
    )
    return PublishedRun(published, described)
