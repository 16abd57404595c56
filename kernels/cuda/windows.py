"""What max pooling, average pooling and convolution know about their windows."""


def windows(image_size, kernel_size, stride, padding):
    """(OH, OW): how many windows there are along each axis."""
    sizes = zip(image_size, kernel_size, stride, padding, strict=True)
    return tuple((H + 2 * P - K) // S + 1 for H, K, S, P in sizes)
