"""Pictures as pixels, for where SVG is not taken: chats, slides, issue trackers."""

from pathlib import Path

FONT = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
"""With it a picture has its text on servers, too, which mostly have no font."""
GROUND = "#ffffff"


def to_png(svg: str, *, zoom: int = 2) -> bytes:
    """Return an SVG document as PNG on a white ground.

    Args:
        svg: a document that has a size.
        zoom: pixels of the result by pixel of that size.
    """
    import resvg_py  # noqa: PLC0415 - what only writing pixels pays for

    return resvg_py.svg_to_bytes(
        svg_string=svg,
        zoom=zoom,
        background=GROUND,
        font_files=[str(FONT)],
        font_family="DejaVu Sans",
        sans_serif_family="DejaVu Sans",
    )
