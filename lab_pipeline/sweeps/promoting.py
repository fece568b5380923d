"""From a set of a sweep to a strategy that says where it comes from."""

from dataclasses import dataclass

from lab_pipeline.domain.errors import ConflictError
from lab_pipeline.domain.strategy import Strategy
from lab_pipeline.runs.strategies import StoredStrategy, StrategyStore
from lab_pipeline.statistics.trials import SWEEP_TAG
from lab_pipeline.storage.catalog_file import open_catalog
from lab_pipeline.sweeps.sets import set_config
from lab_pipeline.sweeps.store import SweepStore

VERDICT_TAG, TRIES_TAG = "verdict:", "tries:"
SUPPORTED, NOT_SUPPORTED = "supported", "not supported"


@dataclass(frozen=True)
class Promoted:
    """A set that has become a strategy.

    Attributes:
        stored: its version.
        is_new: whether the version is new; the strategy had the same configuration already, if not.
    """

    stored: StoredStrategy
    is_new: bool


def promote(
    store: SweepStore,
    strategies: StrategyStore,
    sweep_id: str,
    set_id: int,
    name: str,
    *,
    despite_verdict: bool = False,
) -> Promoted:
    """Store a set of a sweep as a version of a strategy, with tags for the sweep, its verdict and the number of tries.

    The strategy belongs to the family of the one that was swept from now on: their tries are counted together.

    Args:
        store: the sweeps of the lab.
        strategies: of the same lab.
        sweep_id: of the sweep.
        set_id: of the set.
        name: id of the strategy; one that is there keeps its name, description and other tags.
        despite_verdict: whether the set need not be a supported winner.

    Raises:
        ConflictError: if the verdict does not support the set.
        LabError: if there is no such sweep or set.
        InvalidConfigError: if the name cannot be one of a strategy.
    """
    manifest, selection = store.manifest(sweep_id), store.document(sweep_id, "selection")
    config = set_config(store, strategies, sweep_id, set_id)
    of_winner = selection["winner"] == set_id
    if not despite_verdict and not (of_winner and selection["supported"]):
        why = (
            f"the verdict is: {selection['verdict']}"
            if of_winner
            else f"the verdict is about the winner, which is {_named(selection['winner'])}"
        )
        raise ConflictError(
            f"set {set_id} of sweep {sweep_id} is not supported: {why}. `--despite-verdict`, over HTTP "
            "`despiteVerdict`, promotes it"
        )
    verdict = SUPPORTED if of_winner and selection["supported"] else NOT_SUPPORTED
    said = [f"{SWEEP_TAG}{sweep_id}", f"{VERDICT_TAG}{verdict}", f"{TRIES_TAG}{selection['trials']}"]
    parent = str(manifest.spec["strategy"])
    words = (
        f"Set {set_id} of sweep {sweep_id} of {parent} version {manifest.strategy_version}, "
        f"one of {selection['trials']:,} tries. {selection['verdict'] if of_winner else 'It is not the winner'}."
    )
    with open_catalog(strategies.catalog).transaction(write=True):
        known = strategies.versions(name)
        before = known[-1].strategy.tags if known else ()
        kept = [tag for tag in before if not tag.startswith((SWEEP_TAG, VERDICT_TAG, TRIES_TAG))]
        tags = tuple(dict.fromkeys([*kept, *said]))
        about = known[-1].strategy.metadata_dict() if known else {"id": name, "name": name, "description": words}
        document = {**about, "tags": tags, **config.to_json_dict()}
        stored, is_new = strategies.add_version(Strategy.parse(document, subject=f"strategy {name}"))
        if not is_new:
            strategies.describe(name, tags=tags)
            stored = strategies.get(name, stored.version)
        store.trials.record_promotion(name, sweep_id, set_id, parent)
    return Promoted(stored, is_new)


def _named(winner: int | None) -> str:
    return "none" if winner is None else f"set {winner}"
