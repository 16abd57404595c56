"""Max pooling in one pass over the windows, without padding anything."""

import numpy as np

from . import jit


def max_pool2d_forward(x, kernel_size, stride, padding):
    N, C, H, W = x.shape
    OH = (H + 2 * padding[0] - kernel_size[0]) // stride[0] + 1
    OW = (W + 2 * padding[1] - kernel_size[1]) // stride[1] + 1
    y = np.empty((N, C, OH, OW), x.dtype)
    winner = np.empty((N, C, OH, OW), np.int32)  # h*W + w, the pixel itself
    _forward(np.ascontiguousarray(x), y, winner, *kernel_size, *stride, *padding)
    cache = (winner, x.shape)
    return y, cache


def max_pool2d_backward(dy, cache):
    winner, (N, C, H, W) = cache
    dx = np.zeros((N, C, H * W), dy.dtype)
    _backward(np.ascontiguousarray(dy), winner, dx)
    return dx.reshape(N, C, H, W)


@jit
def _forward(x, y, winner, KH, KW, SH, SW, PH, PW):
    N, C, H, W = x.shape
    OH, OW = y.shape[2:]
    for n in range(N):
        for c in range(C):
            image = x[n, c]
            for i in range(OH):
                top, bottom = max(i * SH - PH, 0), min(i * SH - PH + KH, H)
                for j in range(OW):
                    left, right = max(j * SW - PW, 0), min(j * SW - PW + KW, W)
                    best, at = image[top, left], top * W + left
                    for h in range(top, bottom):
                        for w in range(left, right):
                            # only a NaN differs from itself; the first one stays
                            if image[h, w] > best or (image[h, w] != image[h, w] and best == best):
                                best, at = image[h, w], h * W + w
                    y[n, c, i, j], winner[n, c, i, j] = best, at


@jit
def _backward(dy, winner, dx):
    N, C, OH, OW = dy.shape
    for n in range(N):
        for c in range(C):
            for i in range(OH):
                for j in range(OW):
                    dx[n, c, winner[n, c, i, j]] += dy[n, c, i, j]
