"""Launches of the three products in convolution.cu."""

from . import blocks_for, contiguous, empty, launch

COLUMNS = {16: 256, 32: 128, 64: 64}  # of a tile, by its rows
BLOCKS = 264  # two for each multiprocessor of an H100: what a long sum is cut up for
LEAST_TERMS = 64  # of a part of a long sum


def gather(x, w, b, size, stride, padding):
    """y (N, O, *size) of w (O, C, KH, KW): conv2d."""
    pixels = len(x) * size[0] * size[1]
    return _product("gather", len(w), pixels, 1, x, w, b, size, stride, padding)


def paint(x, w, b, size, stride, padding):
    """y (N, O, *size) of w (C, O, KH, KW): conv_transpose2d."""
    pixels = len(x) * -(-size[0] // stride[0]) * -(-size[1] // stride[1])  # of the first phase
    phases = stride[0] * stride[1]
    return _product("paint", w.shape[1], pixels, phases, x, w, b, size, stride, padding)


def _product(kernel, O, pixels, phases, x, w, b, size, stride, padding):
    y, rows = empty((len(x), O, *size), x.dtype), _rows(O)
    blocks = phases * blocks_for(pixels, COLUMNS[rows]), blocks_for(O, rows)
    arrays = x, w, None if b is None else contiguous(b), y
    sizes = *x.shape, O, *size, *w.shape[2:], *stride, *padding
    launch("convolution", f"{kernel}_{rows}", blocks, *arrays, *sizes)
    return y


def weight_gradient(left, right, kernel_size, stride, padding, with_bias=False):
    """dw (O, C, KH, KW) and, with a bias, the sums of left (O,); left (N, O, OH, OW), right
    (N, C, H, W)."""
    (N, O, OH, OW), C = left.shape, right.shape[1]
    rows, columns = _rows(O), C * kernel_size[0] * kernel_size[1]
    tiles = (blocks_for(columns + with_bias, COLUMNS[rows]), blocks_for(O, rows))
    terms = N * OH * OW
    count = max(1, min(BLOCKS // (tiles[0] * tiles[1]), terms // LEAST_TERMS))
    part_size = -(-terms // count)
    count = -(-terms // part_size)  # rounding up may leave the last part without terms
    parts = empty((count, O, columns + with_bias), left.dtype)
    sizes = (*right.shape, O, OH, OW, *kernel_size, *stride, *padding)
    arguments = left, right, parts, part_size, int(with_bias), *sizes
    launch("convolution", f"weights_{rows}", (*tiles, count), *arguments)
    dw = empty((O, C, *kernel_size), left.dtype)
    db = empty((O,), left.dtype) if with_bias else None
    blocks = blocks_for(O * (columns + with_bias))
    launch("convolution", "add_parts", blocks, parts, dw, db, count, O, columns)
    return dw, db


def _rows(O):
    """Of the tile: as many as there are channels, roughly."""
    return 16 if O <= 16 else 32 if O <= 32 else 64
