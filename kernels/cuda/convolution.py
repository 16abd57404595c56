"""Launches of the three products in convolution.cu."""

from . import BLOCKS, blocks_for, contiguous, elementwise, empty, launch

COLUMNS = {16: 256, 32: 128, 64: 64}  # rows of a tile -> its columns
LEAST_TERMS = 64  # per part of a long sum


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
    launch(f"{kernel}_{rows}", blocks, *arrays, *sizes)
    return y


def weight_gradient(left, right, kernel_size, stride, padding):
    """dw (O, C, KH, KW) of left (N, O, OH, OW) and right (N, C, H, W)."""
    (N, O, OH, OW), C = left.shape, right.shape[1]
    rows, columns = _rows(O), C * kernel_size[0] * kernel_size[1]
    tiles = (blocks_for(columns, COLUMNS[rows]), blocks_for(O, rows))
    terms = N * OH * OW
    count = max(1, min(BLOCKS // (tiles[0] * tiles[1]), terms // LEAST_TERMS))
    part_size = -(-terms // count)
    count = -(-terms // part_size)  # rounding up may leave the last part without terms
    parts = empty((count, O, columns), left.dtype)
    sizes = (*right.shape, O, OH, OW, *kernel_size, *stride, *padding)
    arguments = left, right, parts, part_size, *sizes
    launch(f"weights_{rows}", (*tiles, count), *arguments)
    return elementwise("add_parts", parts, count, shape=(O, C, *kernel_size))


def _rows(O):
    """Rows of the tile: about as many as channels."""
    return 16 if O <= 16 else 32 if O <= 32 else 64
