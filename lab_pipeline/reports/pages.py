"""The templates of pages, compiled once."""

from typing import TYPE_CHECKING, Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from lab_pipeline.domain.text import visible
from lab_pipeline.reports import certainty, formats

if TYPE_CHECKING:
    from collections.abc import Callable


def template(name: str) -> Template:
    """Return a template by the name of its file."""
    return _ENVIRONMENT.get_template(name)


def _as_text(value: object) -> object:
    """Write out the control characters of names, which no page may hold; what is markup already is the page's own."""
    return visible(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value


def environment(*loaders: BaseLoader) -> Environment:
    """Return what renders our templates, and those of `loaders` before them; every name in them stays text."""
    made = Environment(
        loader=ChoiceLoader([*loaders, PackageLoader("lab_pipeline.reports")]),
        autoescape=True,
        finalize=_as_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        function.__name__: function
        for function in (
            formats.signed_percent,
            formats.percent,
            formats.number,
            formats.signed_number,
            formats.multiple,
            formats.duration,
            formats.moment,
            formats.shortened,
            formats.words,
            formats.tone,
            formats.day,
            formats.figure,
            formats.sentence,
            certainty.chance,
        )
    }
    made.filters.update(filters)
    for name in made.list_templates(extensions=["html", "css"]):
        made.get_template(name)  # compiled, and kept
    return made


_ENVIRONMENT = environment()
"""Made with the module: compiling takes longer than filling, and a process that forks has it for all its runs."""
