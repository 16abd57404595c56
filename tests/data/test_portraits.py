"""The painter: every factor has a visible, smooth effect in its own region and nowhere else."""

import numpy as np
import pytest

from scratchvae.data.faces import CHANCES, RANGES, draw_factors
from scratchvae.data.portraits import BATCH, cover, draw, ellipse

MIDDLE = {name: (low + high) / 2 for name, (low, high) in RANGES.items()} | dict.fromkeys(
    CHANCES, 0
)
UPRIGHT = MIDDLE | {"hair": 1, "y": 0, "ground_value": 0.3}


def portraits(*faces):
    """Paint faces given as dicts, as signed integers, so that they can be subtracted."""
    names = UPRIGHT.keys()
    return draw({n: np.array([f[n] for f in faces], np.float32) for n in names}).astype(int)


def change(name, face):
    """How much each pixel changes from one end of a factor's range to the other: (64, 64)."""
    low, high = RANGES.get(name, (0, 1))
    if name.endswith("hue") or name == "horizon":
        high = (low + high) / 2  # a full turn would change nothing
    a, b = portraits(face | {name: low}, face | {name: high})
    return np.abs(a - b).max(axis=0)


def test_factors_lie_in_their_ranges_and_fill_them():
    factors = draw_factors(2000, np.random.default_rng(0))
    assert list(factors) == [*RANGES, *CHANCES]
    for name, (low, high) in RANGES.items():
        values = factors[name]
        assert values.shape == (2000,) and values.dtype == np.float32
        assert np.float32(low) <= values.min() and values.max() <= np.float32(high)
        assert np.ptp(values) > 0.98 * (high - low)
    for name, chance in CHANCES.items():
        assert set(factors[name].tolist()) == {0.0, 1.0}
        assert abs(factors[name].mean() - chance) < 0.05


# With `UPRIGHT`, the face is around row 32 and column 32, 16 wide and 20 high on either side.
PLACES = {  # rows and columns
    (24, 37, 18, 46): ("eye_colour", "eye_size", "openness", "gaze_x", "gaze_y"),
    (18, 33, 17, 47): ("brow_height", "brow_slant", "brow_weight"),
    (26, 44, 26, 38): ("nose_length", "nose_width"),
    (36, 52, 22, 42): ("smile", "mouth_width", "mouth_open", "lips"),
    (4, 50, 8, 56): ("hair_tone", "volume", "curl", "hairline", "parting"),
    (0, 38, 8, 56): ("hat", "hair"),
    (50, 64, 0, 64): ("clothes_hue", "clothes_value"),
    (30, 60, 12, 52): ("beard",),
    (20, 40, 14, 50): ("glasses",),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_factor_changes_its_own_place_only(place):
    top, bottom, left, right = place
    for name in PLACES[place]:
        difference = change(name, UPRIGHT)
        inside = difference[top:bottom, left:right]
        assert inside.max() > 30, name
        inside[:] = 0
        assert difference.max() == 0, name


def test_every_factor_shows():
    everything = UPRIGHT | dict.fromkeys(CHANCES, 1)
    tall = UPRIGHT | {"long": 1}
    for name in [*RANGES, *CHANCES]:
        assert any(change(name, face).max() > 25 for face in (UPRIGHT, everything, tall)), name


def test_skin_is_light_or_dark_and_the_background_does_not_care():
    dark, light = portraits(UPRIGHT | {"skin_tone": 0}, UPRIGHT | {"skin_tone": 1})
    cheeks = (slice(None), slice(38, 42), slice(20, 24))
    assert (light[cheeks].mean(axis=(1, 2)) - dark[cheeks].mean(axis=(1, 2)) > 80).all()
    np.testing.assert_array_equal(light[:, :6], dark[:, :6])


def test_the_sky_is_behind_everything():
    difference = change("sky_value", UPRIGHT)
    assert difference[:4].min() > 100 and difference[20:46, 24:40].max() == 0


def test_a_smile_lifts_the_corners_of_the_mouth():
    sad, glad = portraits(UPRIGHT | {"smile": -0.6}, UPRIGHT | {"smile": 1.2})
    green = np.stack([sad, glad])[:, 1, 38:52]  # lips have the least green
    row = green.argmin(axis=1)  # of the mouth, for each column
    corners, middle = row[:, [27, 36]].mean(axis=1), row[:, 31:33].mean(axis=1)
    assert corners[0] > middle[0] and corners[1] < middle[1] - 1


def test_light_falls_on_the_side_it_comes_from():
    left, right = portraits(UPRIGHT | {"light": -80}, UPRIGHT | {"light": 80})
    for picture, sign in ((left, 1), (right, -1)):
        cheeks = picture[:, 34:44, 17:23].mean() - picture[:, 34:44, 41:47].mean()
        assert sign * cheeks > 20


def test_a_moved_face_is_the_same_face_elsewhere():
    bald = UPRIGHT | {"hair": 0}
    still, moved = portraits(bald, bald | {"x": 2, "y": 3})
    np.testing.assert_allclose(moved[:, 23:47, 24:44], still[:, 20:44, 22:42], atol=1)


def test_eyes_and_nose_follow_a_turn_of_the_head():
    bald = UPRIGHT | {"hair": 0, "contrast": 0.25}
    one, other = portraits(bald | {"turn": -3}, bald | {"turn": 3})
    assert np.abs(other[:, 26:40, 24:46] - one[:, 26:40, 18:40]).mean() < 10
    assert np.abs(other[:, 26:40, 24:46] - one[:, 26:40, 24:46]).mean() > 20


def test_factors_act_smoothly():
    """A step of 1/500 of the range never makes a pixel jump, because all edges are soft."""
    rng = np.random.default_rng(3)
    faces = {name: rng.uniform(*ends, 8) for name, ends in RANGES.items()}
    faces |= {name: rng.random(8) < 0.5 for name in CHANCES}
    faces["hat"][:] = faces["hair"][:] = 1
    faces = {name: values.astype(np.float32) for name, values in faces.items()}
    before = draw(faces).astype(int)
    for name, (low, high) in RANGES.items():
        after = draw(faces | {name: faces[name] + np.float32((high - low) / 500)})
        assert np.abs(after - before).max() < 16, name


def test_edges_are_soft_and_cover_the_right_area():
    y, x = np.mgrid[:40, :40] - 19.3
    for a, b in ((12, 12), (15, 6), (5, 4)):
        coverage = cover(ellipse(x, y, a, b))
        assert coverage.sum() == pytest.approx(np.pi * a * b, rel=0.02)
        assert ((coverage > 0.05) & (coverage < 0.95)).sum() > 2 * (a + b)


def test_a_portrait_does_not_depend_on_the_others():
    factors = draw_factors(BATCH + 5, np.random.default_rng(1))
    backwards = {name: values[::-1] for name, values in factors.items()}
    # One grey level: vector instructions may round differently at the ends of an array.
    np.testing.assert_allclose(draw(factors).astype(int), draw(backwards)[::-1].astype(int), atol=1)
