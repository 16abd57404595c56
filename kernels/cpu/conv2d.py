"""conv2d as patches times weights, a tile of images at a time; see patches.py."""

import numpy as np

from .patches import gather, scatter_add, tiles, to_nchw, to_nhwc


def conv2d_forward(x, w, b, stride, padding):
    (N, _, H, W), (O, _, *kernel_size) = x.shape, w.shape
    OH = (H + 2 * padding[0] - kernel_size[0]) // stride[0] + 1
    OW = (W + 2 * padding[1] - kernel_size[1]) // stride[1] + 1
    how = (OH, OW), kernel_size, stride, padding
    x = to_nhwc(x)
    w = w.transpose(2, 3, 1, 0).reshape(-1, O)  # (KH*KW*C, O)
    y = np.empty((N, OH, OW, O), x.dtype)
    for tile, rows in tiles(N, OH * OW, len(w), x.dtype):
        gather(x[tile], rows, *how)  # (n*OH*OW, KH*KW*C)
        np.matmul(rows, w, out=y[tile].reshape(-1, O))
    if b is not None:
        y += b
    cache = (x, w, b is not None, how)
    return to_nchw(y), cache


def conv2d_backward(dy, cache, need_dx=True):
    x, w, has_b, how = cache
    (OH, OW), kernel_size, _, _ = how
    (N, _, _, C), O = x.shape, dy.shape[1]
    dy = to_nhwc(dy)  # (N, OH, OW, O)
    dw = np.zeros((O, len(w)), dy.dtype)
    dx = np.zeros_like(x) if need_dx else None  # (N, H, W, C)
    for tile, rows in tiles(N, OH * OW, len(w), dy.dtype):
        dy_tile = dy[tile].reshape(-1, O)  # (n*OH*OW, O)
        gather(x[tile], rows, *how)
        dw += dy_tile.T @ rows
        if need_dx:
            np.matmul(dy_tile, w.T, out=rows)  # (n*OH*OW, KH*KW*C), over the patches of x
            scatter_add(rows, dx[tile], *how)
    dw = dw.reshape(O, *kernel_size, C).transpose(0, 3, 1, 2)  # (O, C, KH, KW)
    db = dy.sum(axis=(0, 1, 2)) if has_b else None
    return to_nchw(dx) if need_dx else None, dw, db
