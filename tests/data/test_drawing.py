"""The fonts that digits are drawn from, and the warp that must not push them off the frame."""

import numpy as np
import pytest
from PIL import Image

from scratchvae.data import drawing


@pytest.mark.parametrize("size", [(80, 80), (30, 80), (80, 12)])
def test_a_warp_never_leaves_the_frame(size):
    master = Image.new("L", size, 255)
    for matrix in (np.eye(2) * 3, np.array([[1.0, -2.0], [0.5, 1.0]]), np.diag([0.8, 1.6])):
        for shift in ([0.0, 0.0], [500.0, -500.0], [-30.0, 30.0]):
            image = drawing._warp(master, matrix, np.array(shift))
            assert image[[0, -1]].max() == image[:, [0, -1]].max() == 0
            assert image.max() > 200


def test_every_listed_font_is_there_and_draws_ten_different_digits():
    fonts = drawing.find_fonts()
    assert [font.name for font in fonts] == list(drawing.FONTS)
    for font in fonts:
        masters = {drawing._master(font, digit, 0).tobytes() for digit in "0123456789"}
        assert len(masters) == 10


def test_missing_fonts_and_missing_matplotlib_are_told(monkeypatch):
    monkeypatch.setattr(drawing, "FONTS", {"NoSuchFont.ttf": (0,)})
    with pytest.raises(FileNotFoundError, match=r"expected DejaVu, .* found none"):
        drawing.find_fonts()
    monkeypatch.setattr(drawing, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match="install matplotlib"):
        drawing.find_fonts()
