"""What a notebook displays by itself, and what can be kept as a file: a picture, a page."""

import re
from base64 import b64encode
from dataclasses import dataclass
from html import unescape
from os import PathLike
from pathlib import Path
from typing import Self

from markupsafe import Markup

SHEET_PIXELS = 820
"""Height of a page within a notebook, in CSS pixels."""
_ABOUT = re.compile(r"<title[^>]*>(.*?)</title><desc[^>]*>(.*?)</desc>", re.DOTALL)


@dataclass(frozen=True, repr=False)
class Picture:
    """A chart. A notebook displays it; anywhere else `save` makes a file of it.

    Attributes:
        svg: a whole SVG document, for a light or a dark ground.
        title: what it shows.
        described: the same in numbers.
    """

    svg: str
    title: str
    described: str

    @classmethod
    def of(cls, chart: str) -> Self:
        """Take what one of `reports` has drawn for a page."""
        from lab_pipeline.reports.canvas import standing_alone

        found = _ABOUT.search(chart)
        title, described = map(unescape, found.groups()) if found else ("", "")
        return cls(standing_alone(chart), title, described)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the SVG to a file, over whatever is there, and return its path."""
        target = Path(path)
        target.write_text(self.svg, encoding="utf-8")
        return target

    def __repr__(self) -> str:
        return f"<{self.title}: {self.described}>"

    def to_html(self) -> Markup:
        """Return an image: the ids in it meet none of another picture's, and nothing in it can be executed."""
        data = b64encode(self.svg.encode()).decode()
        image = '<img alt="{}" src="data:image/svg+xml;base64,{}" style="max-width:100%;height:auto">'
        return Markup(image).format(f"{self.title}. {self.described}", data)  # noqa: S704 - it escapes what is put in

    def _repr_html_(self) -> str:
        return str(self.to_html())


@dataclass(frozen=True, repr=False)
class Sheet:
    """A page that needs nothing but itself. A notebook displays it; anywhere else `save` makes a file of it.

    Attributes:
        html: a whole HTML document.
    """

    html: str

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the page to a file, over whatever is there, and return its path."""
        target = Path(path)
        target.write_text(self.html, encoding="utf-8")
        return target

    def __repr__(self) -> str:
        return f"<A page of {len(self.html):,} characters: .save(PATH) makes a file of it>"

    def _repr_html_(self) -> str:
        """Show it in a frame: its style stays in there, and its scripts, if it has any, reach nothing outside."""
        frame = (
            '<iframe title="Report" sandbox="allow-scripts" srcdoc="{}" '
            'style="width:100%;height:{}px;border:1px solid #8886;border-radius:6px"></iframe>'
        )
        return str(Markup(frame).format(self.html, SHEET_PIXELS))  # noqa: S704 - as above
