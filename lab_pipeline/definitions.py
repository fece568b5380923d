"""The Dagster entry point: loads everything under `defs`."""

import warnings
from pathlib import Path

import dagster as dg
from dagster_shared.record import replace

from lab_pipeline.settings import load_settings


@dg.definitions
def defs() -> dg.Definitions:
    """Collect the definitions of `lab_pipeline.defs`; each asset says who owns it, and where its code is."""
    loaded = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    once = list({id(one): one for one in loaded.assets or []}.values())  # modules import assets of each other
    owners = load_settings().owner_names
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        named = replace(loaded, assets=dg.with_source_code_references(once))
        return named.map_asset_specs(func=lambda spec: spec.replace_attributes(owners=owners)) if owners else named


def with_own(package: Path) -> dg.Definitions:
    """Return the definitions of the lab, and those in the directory `defs` of another project's package."""
    own = dg.load_from_defs_folder(path_within_project=package)
    return dg.Definitions.merge(replace(defs(), component_tree=None), own)  # Dagster admits one tree
