"""Checks on the statistics: whether they agree with each other and with the artifacts."""

from collections.abc import Iterator

import dagster as dg

from lab_pipeline.defs.statistics.specs import COUNTS, OVERVIEW_KEY, PNL_KEY, TOTALS_AGREE, WIN_RATES
from lab_pipeline.statistics.catalog import Catalog
from lab_pipeline.statistics.consistency import Disagreement, check_win_rates, compare_counts, compare_totals


def evaluate(catalog: Catalog) -> Iterator[dg.AssetCheckResult]:
    """Yield the result of each check, with what is wrong."""
    yield _result(PNL_KEY, TOTALS_AGREE, "groupings", compare_totals(catalog))
    yield _result(OVERVIEW_KEY, WIN_RATES, "win rates", check_win_rates(catalog))
    yield _result(OVERVIEW_KEY, COUNTS, "runs", compare_counts(catalog))


def _result(key: dg.AssetKey, name: str, noun: str, found: Disagreement) -> dg.AssetCheckResult:
    metadata: dict[str, dg.MetadataValue] = {
        noun: dg.MetadataValue.int(found.checked),
        "wrong": dg.MetadataValue.int(found.count),
    }
    if found.wrong:
        columns = [dg.TableColumn(name) for name in found.wrong[0]]
        records = [dg.TableRecord(row) for row in found.wrong]
        metadata["first of them"] = dg.MetadataValue.table(records, dg.TableSchema(columns))
    return dg.AssetCheckResult(passed=found.count == 0, asset_key=key, check_name=name, metadata=metadata)
