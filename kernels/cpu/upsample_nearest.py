"""Nearest-neighbour upsampling: pixels are spread over blocks; backwards, blocks are summed."""

from .window_sums import collect, spread


def upsample_nearest_forward(x, scale_factor):
    (_, _, H, W), (SH, SW) = x.shape, scale_factor
    blocks = _blocks(H, SH), _blocks(W, SW)
    y = spread(x, *blocks, (H * SH, W * SW))
    cache = (blocks,)
    return y, cache


def upsample_nearest_backward(dy, cache):
    (blocks,) = cache
    return collect(dy, *blocks)


def _blocks(size, scale):
    return [(i * scale, (i + 1) * scale, 1.0) for i in range(size)]
