"""The numbers that the kernels of max and average pooling know about their windows."""


def window_sizes(image_size, kernel_size, stride, padding):
    """H, W, OH, OW, KH, KW, SH, SW, PH, PW: in the order in which the kernels take them."""
    sizes = zip(image_size, kernel_size, stride, padding, strict=True)
    OH, OW = ((H + 2 * P - K) // S + 1 for H, K, S, P in sizes)
    return *image_size, OH, OW, *kernel_size, *stride, *padding
