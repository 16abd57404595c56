"""conv2d as patches times weights, a tile of images at a time; see patches.py."""

import numpy as np

from .memory import empty
from .patches import PRODUCTS, gather, scatter_add, tiles, to_nchw, to_nhwc
from .threads import share


def conv2d_forward(x, w, b, stride, padding):
    (N, _, H, W), (O, _, *kernel_size) = x.shape, w.shape
    OH = (H + 2 * padding[0] - kernel_size[0]) // stride[0] + 1
    OW = (W + 2 * padding[1] - kernel_size[1]) // stride[1] + 1
    how = (OH, OW), kernel_size, stride, padding
    x = to_nhwc(x)
    w = w.transpose(2, 3, 1, 0).reshape(-1, O)  # (KH*KW*C, O)
    y = empty((N, OH, OW, O), x.dtype)

    def work(part):
        for tile, rows in tiles(part, OH * OW, len(w), x.dtype):
            gather(x[tile], rows, *how)  # (n*OH*OW, KH*KW*C)
            np.matmul(rows, w, out=y[tile].reshape(-1, O))
            if b is not None:
                y[tile] += b

    share(work, N, N * OH * OW * w.size / PRODUCTS)
    cache = (x, w, b is not None, how)
    return to_nchw(y), cache


def conv2d_backward(dy, cache, need_dx=True):
    x, w, has_b, how = cache
    (OH, OW), kernel_size, _, _ = how
    (N, _, _, C), O = x.shape, dy.shape[1]
    dy = to_nhwc(dy)  # (N, OH, OW, O)
    dx = empty(x.shape, x.dtype) if need_dx else None  # (N, H, W, C)
    sums = []  # dw and db, as far as the images of one thread go

    def work(part):
        dw, dw_tile = np.zeros((2, O, len(w)), dy.dtype)
        for tile, rows in tiles(part, OH * OW, len(w), dy.dtype):
            dy_tile = dy[tile].reshape(-1, O)  # (n*OH*OW, O)
            gather(x[tile], rows, *how)
            dw += np.matmul(dy_tile.T, rows, out=dw_tile)
            if need_dx:
                np.matmul(dy_tile, w.T, out=rows)  # (n*OH*OW, KH*KW*C), over the patches of x
                dx[tile] = 0
                scatter_add(rows, dx[tile], *how)
        sums.append((dw, dy[part].sum(axis=(0, 1, 2))))

    share(work, N, N * OH * OW * w.size / PRODUCTS)
    dw, db = (sum(parts) for parts in zip(*sums, strict=True))
    dw = dw.reshape(O, *kernel_size, C).transpose(0, 3, 1, 2)  # (O, C, KH, KW)
    return to_nchw(dx) if need_dx else None, dw, db if has_b else None
