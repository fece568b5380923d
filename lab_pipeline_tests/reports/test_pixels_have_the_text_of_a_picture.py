"""Pictures as PNG."""

import io

import numpy as np
from PIL import Image

from lab_pipeline.reports.raster import to_png

DOCUMENT = '<svg xmlns="http://www.w3.org/2000/svg" width="80" height="20" font-family="system-ui,sans-serif">{}</svg>'


def pixels(svg):
    return np.asarray(Image.open(io.BytesIO(to_png(svg))).convert("L"))


def test_text_is_drawn_on_a_white_ground():
    blank, written = (pixels(DOCUMENT.format(text)) for text in ("", '<text x="2" y="14">NIGHT</text>'))
    assert blank.shape == written.shape == (40, 160)
    assert blank.min() == 255
    assert (written < 128).sum() > 100
