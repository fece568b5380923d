"""The forms that the launchpad shows, as schemas that take values and nothing else."""

import dagster as dg

from lab_pipeline.dagster_ext.internals import ConfigBoolInstance, ConfigIntInstance, ConfigStringInstance, ConfigType

PLAIN = {dg.StringSource: ConfigStringInstance, dg.IntSource: ConfigIntInstance, dg.BoolSource: ConfigBoolInstance}


def form(model: type[dg.Config]) -> dict[str, dg.Field]:
    """Return the fields of a form, whose text and numbers are taken literally.

    The one that Dagster makes of a model lets `{env: NAME}` stand for any text or number: whoever launches a run could
    have the variables of the process that executes it, secrets included, written into its log. So an op declares
    `config_schema=form(Model)` and makes the model from its configuration, instead of taking it as an argument.
    """
    return {name: _plain_field(field) for name, field in model.to_fields_dict().items()}


def _plain_field(field: dg.Field) -> dg.Field:
    kept = {"default_value": field.default_value} if field.default_provided else {}
    return dg.Field(
        _plain(field.config_type),
        is_required=field.is_required,
        description=field.description,
        **kept,
    )


def _plain(kind: ConfigType) -> ConfigType:
    """Return a type without the alternatives that read the environment, inside and out."""
    if kind in PLAIN:
        return PLAIN[kind]
    if isinstance(kind, dg.Shape):
        return dg.Shape({name: _plain_field(field) for name, field in kind.fields.items()}, kind.description)  # type: ignore[no-untyped-call]  # Dagster's
    if isinstance(kind, dg.Array):
        return dg.Array(_plain(kind.inner_type))
    if isinstance(kind, dg.Noneable):
        return dg.Noneable(_plain(kind.inner_type))
    return kind
