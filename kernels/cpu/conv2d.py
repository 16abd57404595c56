"""conv2d as patches times weights: one gather and one matrix product; see patches.py."""

import numpy as np

from .patches import gather, scatter_add, to_nchw, to_nhwc


def conv2d_forward(x, w, b, stride, padding):
    (N, C, H, W), (O, _, KH, KW) = x.shape, w.shape
    grid = (H + 2 * padding[0] - KH) // stride[0] + 1, (W + 2 * padding[1] - KW) // stride[1] + 1
    x = to_nhwc(x)
    w = w.transpose(2, 3, 1, 0).reshape(KH * KW * C, O)  # (KH*KW*C, O)
    y = gather(x, grid, (KH, KW), stride, padding) @ w  # (N*OH*OW, O)
    if b is not None:
        y += b
    cache = (x, w, (KH, KW), b is not None, stride, padding)
    return to_nchw(y.reshape(N, *grid, O)), cache


def conv2d_backward(dy, cache, need_dx=True):
    x, w, kernel_size, has_b, stride, padding = cache
    C, (O, *grid) = x.shape[3], dy.shape[1:]
    dy = to_nhwc(dy).reshape(-1, O)  # (N*OH*OW, O)
    dw = dy.T @ gather(x, grid, kernel_size, stride, padding)  # (O, KH*KW*C)
    dw = dw.reshape(O, *kernel_size, C).transpose(0, 3, 1, 2)  # (O, C, KH, KW)
    db = dy.sum(axis=0) if has_b else None
    if not need_dx:
        return None, dw, db
    dx = scatter_add(dy @ w.T, x.shape, grid, kernel_size, stride, padding)  # (N, H, W, C)
    return to_nchw(dx), dw, db
