"""Launches of the three products in convolution.cu."""

from . import blocks_for, contiguous, empty, launch

COLUMNS = {16: 256, 32: 128, 64: 64}  # of a tile, by its rows
BLOCKS = 264  # two for each multiprocessor of an H100: what a long sum is cut up for
LEAST_TERMS = 64  # of a part of a long sum


def gather(x, w, b, size, stride, padding, slope=1.0):
    """y (N, O, *size) of w (O, C, KH, KW): conv2d, then leaky ReLU; a slope of 1 is none."""
    N, O = len(x), len(w)
    y = empty((N, O, *size), x.dtype)
    rows = _rows(O)
    blocks = (blocks_for(N * size[0] * size[1], COLUMNS[rows]), blocks_for(O, rows))
    sizes = (*x.shape, O, *size, *w.shape[2:], *stride, *padding)
    launch("convolution", f"gather_{rows}", blocks, x, w, b, y, slope, *sizes)
    return y


def paint(x, w, b, size, stride, padding, slope=1.0):
    """y (N, O, *size) of w (C, O, KH, KW): conv_transpose2d, then leaky ReLU."""
    N, O = len(x), w.shape[1]
    y = empty((N, O, *size), x.dtype)
    rows, phases = _rows(O), stride[0] * stride[1]
    largest = -(-size[0] // stride[0]) * -(-size[1] // stride[1])  # pixels of the first phase
    blocks = (phases * blocks_for(N * largest, COLUMNS[rows]), blocks_for(O, rows))
    sizes = (*x.shape, O, *size, *w.shape[2:], *stride, *padding)
    launch("convolution", f"paint_{rows}", blocks, x, w, b, y, slope, *sizes)
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


def forward(product, x, w, b, size, stride, padding, slope):
    """y and the cache that both convolutions keep."""
    x, w = contiguous(x), contiguous(w)
    y = product(x, w, b if b is None else contiguous(b), size, stride, padding, slope)
    cache = (x, w, None if slope == 1 else y, b is not None, stride, padding, slope)
    return y, cache
