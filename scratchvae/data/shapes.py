"""Shapes and colours for painting with arrays: what `portraits` mixes its faces from.

A shape is a signed distance in pixels: negative inside, zero on the outline, positive outside.
The larger of two distances is the shape where both are (`np.maximum`), the smaller is the shape
where either is (`np.minimum`), and with the other sign a shape becomes all that lies around it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # float32, in practice
Colours = tuple[tuple[int, int, int], ...]


def ellipse(x: Array, y: Array, a: Array | float, b: Array | float) -> Array:
    """Signed distance to the ellipse f = (x/a)^2 + (y/b)^2 - 1 = 0, taken as f / |grad f|.

    This is exact to first order on the outline, the only place where anyone sees it.
    """
    p, q = x / a, y / b
    f, gradient = p * p + q * q - 1, 2 * np.sqrt((p / a) ** 2 + (q / b) ** 2)
    return f / (gradient + 1e-6)  # in the very middle the gradient is 0


def cover(distance: Array, softness: float = 1) -> Array:
    """How much of each pixel a shape covers: an edge one pixel wide, or `softness` pixels."""
    return np.clip(0.5 - distance / softness, 0, 1)


def direction(degrees: Array) -> tuple[Array, Array]:
    """Return sine and cosine of an angle."""
    return np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))


def palette(colours: Colours, position: Array) -> Array:
    """Walk along some colours, from 0 at the first to 1 at the last: (B, 1, 1) -> (B, 3, 1, 1)."""
    stops = np.linspace(0, 1, len(colours))
    channels = [np.interp(position, stops, channel) for channel in np.array(colours).T]
    return np.stack(channels, axis=1).astype(np.float32)


def hue(angle: Array, value: Array, saturation: float) -> Array:
    """Turn round the colour wheel: red 0, green 1/3, blue 2/3, red 1: (B, 1, 1) -> (B, 3, 1, 1)."""
    phases = np.array([0, 1 / 3, 2 / 3], np.float32)[:, None, None]
    wheel = 0.5 + 0.5 * np.cos(2 * np.pi * (angle[:, None] - phases))
    return 255 * value[:, None] * (1 - saturation * (1 - wheel))
