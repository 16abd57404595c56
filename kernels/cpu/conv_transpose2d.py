"""conv_transpose2d as pixels times weights, painted a tile of images at a time; see patches.py."""

import numpy as np

from .memory import empty
from .patches import PRODUCTS, gather, scatter_add, tiles, to_nchw, to_nhwc
from .threads import share


def conv_transpose2d_forward(x, w, b, stride, padding, output_padding):
    (N, C, H, W), (_, O, *kernel_size) = x.shape, w.shape
    OH = (H - 1) * stride[0] - 2 * padding[0] + kernel_size[0] + output_padding[0]
    OW = (W - 1) * stride[1] - 2 * padding[1] + kernel_size[1] + output_padding[1]
    how = (H, W), kernel_size, stride, padding
    x = to_nhwc(x)
    w = w.transpose(0, 2, 3, 1).reshape(C, -1)  # (C, KH*KW*O)
    y = empty((N, OH, OW, O), x.dtype)

    def work(part):
        for tile, rows in tiles(part, H * W, w.shape[1], x.dtype):
            np.matmul(x[tile].reshape(-1, C), w, out=rows)  # (n*H*W, KH*KW*O)
            y[tile] = 0 if b is None else b
            scatter_add(rows, y[tile], *how)

    share(work, N, N * H * W * w.size / PRODUCTS)
    cache = (x, w, b is not None, how)
    return to_nchw(y), cache


def conv_transpose2d_backward(dy, cache, need_dx=True):
    x, w, has_b, how = cache
    (H, W), kernel_size, _, _ = how
    N, O, C = *dy.shape[:2], x.shape[3]
    dy = to_nhwc(dy)  # (N, OH, OW, O)
    dx = empty(x.shape, x.dtype) if need_dx else None  # (N, H, W, C)
    sums = []  # dw and db, as far as the images of one thread go

    def work(part):
        dw, dw_tile = np.zeros((2, *w.shape), dy.dtype)  # (C, KH*KW*O)
        for tile, rows in tiles(part, H * W, w.shape[1], dy.dtype):
            gather(dy[tile], rows, *how)  # (n*H*W, KH*KW*O)
            dw += np.matmul(x[tile].reshape(-1, C).T, rows, out=dw_tile)
            if need_dx:
                np.matmul(rows, w.T, out=dx[tile].reshape(-1, C))
        sums.append((dw, dy[part].sum(axis=(0, 1, 2))))

    share(work, N, N * H * W * w.size / PRODUCTS)
    dw, db = (sum(parts) for parts in zip(*sums, strict=True))
    dw = dw.reshape(C, *kernel_size, O).transpose(0, 3, 1, 2)  # (C, O, KH, KW)
    return to_nchw(dx) if need_dx else None, dw, db if has_b else None
