"""The forms that the launchpad shows, as schemas that take values and nothing else."""

from collections.abc import Mapping
from enum import StrEnum

import dagster as dg

from lab_pipeline.dagster_ext.internals import ConfigBoolInstance, ConfigIntInstance, ConfigStringInstance, ConfigType

PLAIN = {dg.StringSource: ConfigStringInstance, dg.IntSource: ConfigIntInstance, dg.BoolSource: ConfigBoolInstance}


def form(model: type[dg.Config], choices: Mapping[str, type[StrEnum]] | None = None) -> dict[str, dg.Field]:
    """Return the fields of a form, whose text and numbers are taken literally.

    Args:
        model: whose fields are asked for.
        choices: what texts of a field, by its name, are chosen from. Dagster's own choices of a model are the names of
            an enum, which only Python knows; these are its values, as everywhere else.

    The one that Dagster makes of a model lets `{env: NAME}` stand for any text or number: whoever launches a run could
    have the variables of the process that executes it, secrets included, written into its log. So an op declares
    `config_schema=form(Model)` and makes the model from its configuration, instead of taking it as an argument.
    """
    chosen = {
        name: dg.Enum(kind.__name__, [dg.EnumValue(one.value) for one in kind])
        for name, kind in (choices or {}).items()
    }
    return {name: _plain_field(field, chosen.get(name)) for name, field in model.to_fields_dict().items()}


def _plain_field(field: dg.Field, chosen: dg.Enum | None = None) -> dg.Field:
    kept = {"default_value": field.default_value} if field.default_provided else {}
    return dg.Field(
        _plain(field.config_type, chosen),
        is_required=field.is_required,
        description=field.description,
        **kept,
    )


def _plain(kind: ConfigType, chosen: dg.Enum | None = None) -> ConfigType:
    """Return a type without the alternatives that read the environment, inside and out, its texts to be chosen."""
    if kind in PLAIN:
        return chosen if chosen is not None and kind is dg.StringSource else PLAIN[kind]
    if isinstance(kind, dg.Shape):
        return dg.Shape({name: _plain_field(field) for name, field in kind.fields.items()}, kind.description)  # type: ignore[no-untyped-call]  # Dagster's
    if isinstance(kind, dg.Array):
        return dg.Array(_plain(kind.inner_type, chosen))
    if isinstance(kind, dg.Noneable):
        return dg.Noneable(_plain(kind.inner_type, chosen))
    return kind
