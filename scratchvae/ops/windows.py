"""Windows over an image, and their transpose: the two linear maps behind convolution and pooling.

    windows      x (N, C, H, W)  ->  cells (N, C, OH, OW, KH, KW)
                 cells[n,c,i,j,u,v] = x[n, c, i*SH + u, j*SW + v]

    add_windows  cells (N, C, OH, OW, KH, KW)  ->  x (N, C, H, W)
                 x[n,c,h,k] = sum of cells[n,c,i,j,u,v] over all i*SH + u = h and j*SW + v = k

The second is the transpose (the adjoint) of the first:

    <windows(x), cells> = <x, add_windows(cells)>

That one line is the whole relation between conv2d and conv_transpose2d: the forward pass of either
is the backward pass of the other.
"""

from itertools import product

from ..backend import array_module


def pad2d(x, padding, value=0):
    """(N, C, H, W) -> (N, C, PH + H + PH, PW + W + PW), the border filled with `value`."""
    (PH, PW) = padding
    if PH == PW == 0:
        return x
    border = ((0, 0), (0, 0), (PH, PH), (PW, PW))
    return array_module(x).pad(x, border, constant_values=value)


def crop2d(x, padding):
    """The inverse of pad2d: a view without the border."""
    (PH, PW), (H, W) = padding, x.shape[2:]
    return x[:, :, PH : H - PH, PW : W - PW]


def grid_size(image_size, kernel_size, stride, padding):
    """(OH, OW): how many windows fit into the padded image, floor((H + 2 PH - KH) / SH) + 1."""
    sizes = zip(image_size, kernel_size, stride, padding, strict=True)
    return tuple((H + 2 * P - K) // S + 1 for H, K, S, P in sizes)


def windows(x, kernel_size, stride):
    """(N, C, H, W) -> (N, C, OH, OW, KH, KW): a read-only view, without a copy."""
    (SH, SW) = stride
    view = array_module(x).lib.stride_tricks.sliding_window_view(x, kernel_size, axis=(2, 3))
    return view[:, :, ::SH, ::SW]


def add_windows(cells, image_size, stride):
    """(N, C, OH, OW, KH, KW) -> (N, C, H, W): every cell added where `windows` read it."""
    N, C, OH, OW, KH, KW = cells.shape
    (SH, SW) = stride
    x = array_module(cells).zeros((N, C, *image_size), cells.dtype)
    for u, v in product(range(KH), range(KW)):  # += because windows may overlap
        x[:, :, u : u + SH * OH : SH, v : v + SW * OW : SW] += cells[..., u, v]
    return x
