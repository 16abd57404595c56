"""conv_transpose2d as weights times pixels, painted: one product, one scatter; see patches.py."""

from .patches import gather, scatter_add, to_nchw, to_nhwc


def conv_transpose2d_forward(x, w, b, stride, padding, output_padding):
    (N, C, *grid), (_, O, *kernel_size) = x.shape, w.shape
    sizes = zip(grid, kernel_size, stride, padding, output_padding, strict=True)
    OH, OW = ((H - 1) * S - 2 * P + K + OP for H, K, S, P, OP in sizes)
    x = to_nhwc(x).reshape(-1, C)  # (N*H*W, C)
    w = w.transpose(0, 2, 3, 1).reshape(C, -1)  # (C, KH*KW*O)
    y = scatter_add(x @ w, (N, OH, OW, O), grid, kernel_size, stride, padding)  # (N, OH, OW, O)
    if b is not None:
        y += b
    cache = (x, w, grid, kernel_size, b is not None, stride, padding)
    return to_nchw(y), cache


def conv_transpose2d_backward(dy, cache, need_dx=True):
    x, w, grid, kernel_size, has_b, stride, padding = cache
    (N, O), C = dy.shape[:2], x.shape[1]
    dy = to_nhwc(dy)  # (N, OH, OW, O)
    drows = gather(dy, grid, kernel_size, stride, padding)  # (N*H*W, KH*KW*O)
    dw = (x.T @ drows).reshape(C, *kernel_size, O).transpose(0, 3, 1, 2)  # (C, O, KH, KW)
    db = dy.sum(axis=(0, 1, 2)) if has_b else None
    if not need_dx:
        return None, dw, db
    dx = drows @ w.T  # (N*H*W, C)
    return to_nchw(dx.reshape(N, *grid, C)), dw, db
