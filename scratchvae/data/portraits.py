"""Painting faces from numbers: 64 x 64 pixels in colour; arrays compute all shapes.

A batch of faces, (B, 3, 64, 64), is painted from the background to the glasses. A brush stroke has
a colour and a coverage between 0 and 1, computed from a signed distance in pixels: negative inside
a shape, positive outside. On an edge the coverage lies in between, so outlines are smooth.

Of two distances, `np.maximum` is the intersection of the shapes, `np.minimum` their union; a minus
sign gives the complement.
"""

from types import SimpleNamespace as Face
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # float32, in practice
Colours = tuple[tuple[int, int, int], ...]

SIZE = 64
BATCH = 32  # images painted at once: their arrays fit the processor's cache

SKIN = ((78, 48, 38), (126, 80, 56), (180, 124, 92), (228, 176, 140), (244, 208, 182))
HAIR = ((26, 22, 26), (70, 44, 32), (128, 76, 44), (152, 74, 46), (230, 184, 104), (232, 228, 224))
IRIS = ((52, 32, 24), (112, 70, 36), (92, 128, 70), (64, 120, 172), (120, 140, 156))
WHITE, BLACK = 240, 12  # leaves darker and lighter bytes for light and shade
LIPS, BLUSH = np.array([(0.88, 0.54, 0.54), (1.06, 0.8, 0.78)], np.float32)[..., None, None]


def draw(factors: dict[str, NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Paint one portrait for each entry of the factors, float32 (N,) each: uint8 (N, 3, 64, 64)."""
    count = len(factors["x"])
    images = np.empty((count, 3, SIZE, SIZE), np.uint8)
    for start in range(0, count, BATCH):
        batch = slice(start, start + BATCH)
        face = Face(**{name: values[batch, None, None] for name, values in factors.items()})
        images[batch] = np.rint(np.clip(_paint(face), 0, 255))
    return images


def _paint(f: Face) -> Array:
    """Paint a batch of faces; `f` holds the factors, (B, 1, 1) each, and what follows from them."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) - (SIZE - 1) / 2
    sin, cos = direction(f.tilt)
    # The head has axes of its own: u towards an ear, v towards the chin, 0 between the ears.
    f.u = cos * (x - f.x) + sin * (y - f.y)
    f.v = cos * (y - f.y) - sin * (x - f.x)
    # When it turns or nods, eyes, nose and mouth slide over it together.
    f.p, f.q = f.u - f.turn, f.v - f.nod
    f.eye_x, f.eye_y = f.spacing * f.width, f.q + 0.1 * f.height
    f.mane, f.shade = _mane(f), _shade(f)
    f.skin = f.shade * palette(SKIN, f.skin_tone)
    f.hair_colour = f.shade * palette(HAIR, f.hair_tone)
    f.picture = _background(f, x, y)
    parts = (_back_hair, _body, _head, _beard, _nose, _mouth, _eyes, _brows, _hair, _hat, _glasses)
    for paint in parts:
        paint(f)
    return f.picture


def _lay(f: Face, colour: Array | float, coverage: Array) -> None:
    """Blend a colour into the picture by its coverage."""
    f.picture += coverage[:, None] * (colour - f.picture)


def _shade(f: Face) -> Array:
    """Light the head as half a ball: brightness = normal . direction of the light."""
    sin, cos = direction(f.light)
    nx, ny = f.u / (1.25 * f.width), f.v / (1.25 * f.height)
    nz = np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0.02))
    towards_light = 0.8 * sin * nx - 0.45 * ny + 0.6 * cos * nz
    return (1 + f.contrast * (towards_light - 0.3))[:, None]


def _background(f: Face, x: Array, y: Array) -> Array:
    sin, cos = direction(f.horizon)
    t = np.clip(0.5 + (sin * x + cos * y) / SIZE, 0, 1)[:, None]
    sky, ground = hue(f.sky_hue, f.sky_value, 0.4), hue(f.ground_hue, f.ground_value, 0.4)
    return sky + t * (ground - sky)


def _back_hair(f: Face) -> None:
    _lay(f, 0.6 * f.hair_colour, f.hair * f.long * cover(f.mane + 1, 2))


def _body(f: Face) -> None:
    neck = np.maximum(np.abs(f.u) - 0.42 * f.width, -f.v)
    below_the_chin = np.clip((f.v - f.height) / 12, 0, 1)[:, None]  # the chin casts a shadow
    _lay(f, (0.75 + 0.3 * below_the_chin) * f.skin, cover(neck))
    shoulders = ellipse(f.u, f.v - f.height - 20, 1.7 * f.width, 17)
    collar = ellipse(f.u, f.v - f.height - 3.5, 0.44 * f.width, 5)
    colour = hue(f.clothes_hue, f.clothes_value, 0.7) * (0.5 + 0.5 * f.shade)
    _lay(f, colour, cover(np.maximum(shoulders, -collar)))


def _head(f: Face) -> None:
    ears = ellipse(np.abs(f.u + f.turn / 3) - f.width, f.v, 2.4, 4.2)
    _lay(f, 0.85 * f.skin, cover(ears))
    f.skull = ellipse(f.u * (1 + f.jaw * f.v / f.height), f.v, f.width, f.height)
    _lay(f, f.skin, cover(f.skull))
    cheeks = ellipse(np.abs(f.p) - 0.56 * f.width, f.q - 0.3 * f.height, 4, 3)
    _lay(f, BLUSH * f.skin, 0.5 * cover(cheeks, 5) * cover(f.skull))


def _beard(f: Face) -> None:
    bare = ellipse(f.p, f.q + 0.12 * f.height, 0.88 * f.width, 0.57 * f.height)
    beard = np.maximum(f.skull - 0.8, -np.minimum(bare, f.v))
    _lay(f, 0.9 * f.hair_colour, f.beard * f.stubble * cover(beard, 2.5))


def _nose(f: Face) -> None:
    tip = f.q - f.nose_length * f.height
    side, _ = direction(f.light)
    bridge = ellipse(f.p + 1.6 * side, tip + 3.5, 0.9, 5)  # on the side away from the light
    _lay(f, 0.8 * f.skin, 0.7 * np.abs(side) * cover(bridge, 2))
    nostrils, ball = ellipse(f.p, tip - 0.8, f.nose_width, 1.5), ellipse(f.p, tip + 0.7, 1.8, 1.6)
    _lay(f, 0.66 * f.skin, 0.9 * cover(nostrils, 1.5))
    _lay(f, 1.12 * f.skin, cover(ball, 2))


def _mouth(f: Face) -> None:
    # A smile is a straight mouth on bent paper: the corners rise and the middle sinks.
    bend = 3 * f.smile * (0.4 - np.minimum((f.p / f.mouth_width) ** 2, 2))
    v = f.q - 0.6 * f.height - bend
    lips = ellipse(f.p, v, f.mouth_width, f.lips + f.mouth_open / 2)
    _lay(f, LIPS * f.skin, cover(lips))
    inside = ellipse(f.p, v, f.mouth_width - 1, 0.35 + f.mouth_open / 2)
    _lay(f, 0.45 * LIPS * f.skin, cover(inside))
    teeth, shown = np.maximum(inside, v), np.clip(f.mouth_open - 0.5, 0, 1)
    _lay(f, WHITE, shown * np.clip(4 * f.smile, 0, 1) * cover(teeth))


def _eyes(f: Face) -> None:
    s, t = f.p - np.copysign(f.eye_x, f.p), f.eye_y  # 0, 0 in the middle of each eye
    half_height = 0.68 * f.eye_size * f.openness
    lashes = ellipse(s, t + 0.7, f.eye_size + 0.4, half_height + 0.4)
    _lay(f, 0.3 * f.skin, cover(lashes))
    eye = ellipse(s, t, f.eye_size, half_height)
    _lay(f, WHITE, cover(eye))
    s, t = s - f.gaze_x, t - f.gaze_y * f.openness
    radius = np.hypot(s, t)
    _lay(f, palette(IRIS, f.eye_colour), cover(np.maximum(radius - 0.55 * f.eye_size, eye)))
    _lay(f, BLACK, cover(np.maximum(radius - 0.27 * f.eye_size, eye)))
    _lay(f, WHITE, cover(np.maximum(np.hypot(s + 0.8, t + 0.8) - 0.5, eye)))  # a glint


def _brows(f: Face) -> None:
    s = np.abs(f.p) - f.eye_x  # |p| folds the face in two: s grows outwards on either side
    t = f.eye_y + f.brow_height - f.brow_slant * s + 0.06 * s * s
    _lay(f, 0.7 * f.hair_colour, 0.9 * cover(ellipse(s, t, 4.2, f.brow_weight)))


def _mane(f: Face) -> Array:
    """The outline of the hair: around the skull, and down to the shoulders where it is long."""
    wave = 0.6 * f.curl * (np.sin(0.9 * f.v) + np.sin(0.8 * f.u + 1))
    top, drop = f.v + 1.5, f.long * f.length * f.height
    fall = top - np.clip(top, 0, drop)  # an ellipse cut in two, and pulled apart
    return ellipse(f.u, fall, f.width + f.volume, f.height + f.volume) + wave


def _hair(f: Face) -> None:
    down = SIZE * f.long  # long hair does not cover the face or anything below it
    side, drop = f.u - f.parting - f.turn / 2, f.v - 0.35 * f.height
    forehead = (f.hairline + 0.35) * f.height
    face = ellipse(side, drop - np.clip(drop, 0, down), 0.95 * f.width, forehead)
    fringe = f.v + 0.3 * f.height + 1.2 * np.sin(f.u / 3 + f.parting)
    face = np.where(f.fringe > 0, np.maximum(face, -fringe), face)
    ears = f.v + 0.8 * (np.abs(f.u) - 0.9 * f.width) - down  # where short hair ends
    hair = np.maximum(np.maximum(f.mane, -face), ears)
    _lay(f, 0.6 * f.skin, 0.4 * f.hair * cover(hair - 1, 3) * cover(f.skull))  # its shadow
    combed = 1.5 * np.abs(f.u - f.parting) + 0.5 * f.v + 2 * f.curl * np.sin(0.7 * f.v)
    strands = 1 + 0.06 * np.sin(combed)[:, None]
    _lay(f, strands * f.hair_colour, f.hair * cover(hair))


def _hat(f: Face) -> None:
    dome = ellipse(f.u, f.v + 1.5, f.width + f.volume + 1.5, f.height + f.volume + 1.5)
    rim = f.v + 0.42 * f.height
    colour = hue(f.hat_hue, f.hat_value, 0.7) * f.shade
    ribs = 1 + 0.12 * np.sin(1.6 * f.u)[:, None]
    _lay(f, ribs * colour, f.hat * cover(np.maximum(dome, rim)))
    band = np.maximum(np.abs(rim + 1) - 2.5, np.abs(f.u) - f.width - f.volume - 0.5)
    _lay(f, 0.75 * colour, f.hat * cover(band))


def _glasses(f: Face) -> None:
    lens = ellipse(np.abs(f.p) - f.eye_x, f.eye_y - 0.3, 5.4, 4.8)
    bar = np.maximum(np.maximum(np.abs(f.eye_y + 0.7) - 0.5, -lens), np.abs(f.u) - 0.92 * f.width)
    _lay(f, WHITE, 0.12 * f.glasses * cover(lens))
    rims = np.minimum(np.abs(lens) - 0.55, bar)
    _lay(f, hue(f.rim_hue, f.rim_value, 0.7), f.glasses * cover(rims))


def ellipse(x: Array, y: Array, a: Array | float, b: Array | float) -> Array:
    """Signed distance to f = (x/a)^2 + (y/b)^2 - 1 = 0, to first order: f / |grad f|."""
    p, q = x / a, y / b
    f, gradient = p * p + q * q - 1, 2 * np.sqrt((p / a) ** 2 + (q / b) ** 2)
    return f / (gradient + 1e-6)  # in the centre the gradient is 0


def cover(distance: Array, softness: float = 1) -> Array:
    """The share of each pixel inside a shape, whose edge is `softness` pixels wide."""
    return np.clip(0.5 - distance / softness, 0, 1)


def direction(degrees: Array) -> tuple[Array, Array]:
    """Sine and cosine of an angle."""
    return np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))


def palette(colours: Colours, position: Array) -> Array:
    """Interpolate colours, from 0 at the first to 1 at the last: (B, 1, 1) -> (B, 3, 1, 1)."""
    stops = np.linspace(0, 1, len(colours))
    channels = [np.interp(position, stops, channel) for channel in np.array(colours).T]
    return np.stack(channels, axis=1).astype(np.float32)


def hue(angle: Array, value: Array, saturation: float) -> Array:
    """A colour of the wheel: red 0, green 1/3, blue 2/3, red 1: (B, 1, 1) -> (B, 3, 1, 1)."""
    phases = np.array([0, 1 / 3, 2 / 3], np.float32)[:, None, None]
    wheel = 0.5 + 0.5 * np.cos(2 * np.pi * (angle[:, None] - phases))
    return 255 * value[:, None] * (1 - saturation * (1 - wheel))
