"""The number of windows, for max pooling, average pooling and convolution."""


def windows(image_size, kernel_size, stride, padding):
    """(OH, OW): the number of windows along each axis."""
    sizes = zip(image_size, kernel_size, stride, padding, strict=True)
    return tuple((H + 2 * P - K) // S + 1 for H, K, S, P in sizes)
