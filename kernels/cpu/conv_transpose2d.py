"""conv_transpose2d as pixels times weights, painted a tile of images at a time; see patches.py."""

import numpy as np

from .patches import gather, scatter_add, tiles, to_nchw, to_nhwc


def conv_transpose2d_forward(x, w, b, stride, padding, output_padding):
    (N, C, H, W), (_, O, *kernel_size) = x.shape, w.shape
    OH = (H - 1) * stride[0] - 2 * padding[0] + kernel_size[0] + output_padding[0]
    OW = (W - 1) * stride[1] - 2 * padding[1] + kernel_size[1] + output_padding[1]
    how = (H, W), kernel_size, stride, padding
    x = to_nhwc(x)
    w = w.transpose(0, 2, 3, 1).reshape(C, -1)  # (C, KH*KW*O)
    y = np.zeros((N, OH, OW, O), x.dtype)
    if b is not None:
        y += b
    for tile, rows in tiles(N, H * W, w.shape[1], x.dtype):
        np.matmul(x[tile].reshape(-1, C), w, out=rows)  # (n*H*W, KH*KW*O)
        scatter_add(rows, y[tile], *how)
    cache = (x, w, b is not None, how)
    return to_nchw(y), cache


def conv_transpose2d_backward(dy, cache, need_dx=True):
    x, w, has_b, how = cache
    (H, W), kernel_size, _, _ = how
    N, O, C = *dy.shape[:2], x.shape[3]
    dy = to_nhwc(dy)  # (N, OH, OW, O)
    dw = np.zeros_like(w)  # (C, KH*KW*O)
    dx = np.empty_like(x) if need_dx else None  # (N, H, W, C)
    for tile, rows in tiles(N, H * W, w.shape[1], dy.dtype):
        gather(dy[tile], rows, *how)  # (n*H*W, KH*KW*O)
        dw += x[tile].reshape(-1, C).T @ rows
        if need_dx:
            np.matmul(rows, w.T, out=dx[tile].reshape(-1, C))
    dw = dw.reshape(C, *kernel_size, O).transpose(0, 3, 1, 2)  # (C, O, KH, KW)
    db = dy.sum(axis=(0, 1, 2)) if has_b else None
    return to_nchw(dx) if need_dx else None, dw, db
