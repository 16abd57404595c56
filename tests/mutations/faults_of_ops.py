"""Mistakes in the ops: indices, factors, masks, axes."""

from planting import Fault

FAULTS = [
    Fault(
        "strides-swapped",
        "scratchvae.ops.windows",
        [("view[:, :, ::SH, ::SW]", "view[:, :, ::SW, ::SH]")],
        "the stride of the rows is taken for the columns",
        "tests/ops/test_conv2d.py::test_conv2d[numpy]",
        "conv2d",
    ),
    Fault(
        "overlaps-overwritten",
        "scratchvae.ops.windows",
        [("+= cells[..., u, v]", "= cells[..., u, v]")],
        "where windows overlap, the last one overwrites the sum: = for +=",
        "tests/ops/test_conv2d.py::test_conv_transpose_is_the_adjoint[numpy]",
        "conv2d",
    ),
    Fault(
        "conv2d-stride-lost-in-dx",
        "scratchvae.ops.conv2d",
        [
            (
                "add_windows(dcells, x_padded.shape[2:], stride)",
                "add_windows(dcells, x_padded.shape[2:], (1, 1))",
            )
        ],
        "dx adds the windows back side by side, without the stride",
        "tests/ops/test_conv2d.py::test_conv2d[numpy]",
        "conv2d",
    ),
    Fault(
        "conv2d-padding-forgotten-in-dx",
        "scratchvae.ops.conv2d",
        [
            (
                "dx = crop2d(add_windows(dcells, x_padded.shape[2:], stride), padding)",
                "H, W = x.shape[2:]; "
                "dx = add_windows(dcells, x_padded.shape[2:], stride)[..., :H, :W]",
            )
        ],
        "dx is cut to the right size at the wrong place: the padding before it is left in",
        "tests/ops/test_conv2d.py::test_conv2d[numpy]",
        "conv2d",
    ),
    Fault(
        "conv2d-kernel-flipped",
        "scratchvae.ops.conv2d",
        [("xp.tensordot(cells, w,", "xp.tensordot(cells, w[..., ::-1, ::-1],")],
        "forward flips the kernel, as in mathematics; backward does not",
        "tests/ops/test_conv2d.py::test_one_by_hand[numpy]",
        "conv2d",
    ),
    Fault(
        "conv2d-kernel-flipped-throughout",
        "scratchvae.ops.conv2d",
        [
            ("xp.tensordot(cells, w,", "xp.tensordot(cells, w[..., ::-1, ::-1],"),
            ("xp.tensordot(dy, w,", "xp.tensordot(dy, w[..., ::-1, ::-1],"),
            (
                "dw = xp.tensordot(dy, cells, axes=((0, 2, 3), (0, 2, 3)))",
                "dw = xp.tensordot(dy, cells, axes=((0, 2, 3), (0, 2, 3)))[..., ::-1, ::-1]",
            ),
        ],
        "forward and backward flip the kernel: a right gradient of another function",
        "tests/ops/test_conv2d.py::test_one_by_hand[numpy]",
        "conv2d",
    ),
    Fault(
        "conv2d-db-averaged",
        "scratchvae.ops.conv2d",
        [("db = dy.sum(", "db = dy.mean(")],
        "the gradient of the bias is a mean over batch and pixels, not a sum",
        "tests/ops/test_conv2d.py::test_conv2d[numpy]",
        "conv2d",
    ),
    Fault(
        "conv-transpose2d-one-row-too-many",
        "scratchvae.ops.conv_transpose2d",
        [("(H - 1) * S - 2 * P + K + OP for", "(H - 1) * S - 2 * P + K + OP + (OP > 0) for")],
        "the output padding is off by one",
        "tests/ops/test_conv_transpose2d.py::test_sizes_of_the_celeba_decoder[numpy]",
        "conv_transpose2d",
    ),
    Fault(
        "conv-transpose2d-kernel-axes-swapped",
        "scratchvae.ops.conv_transpose2d",
        [
            (
                "dx = xp.tensordot(dcells, w, axes=((1, 4, 5), (1, 2, 3)))",
                (
                    "dx = xp.tensordot(dcells, w.swapaxes(2, 3).reshape(w.shape), "
                    "axes=((1, 4, 5), (1, 2, 3)))"
                ),
            )
        ],
        "dx reads the kernel with its rows and columns swapped",
        "tests/ops/test_conv_transpose2d.py::test_conv_transpose2d[numpy]",
        "conv_transpose2d",
    ),
    Fault(
        "linear-dw-transposed",
        "scratchvae.ops.linear",
        [("dw = dy.T @ x", "dw = (x.T @ dy).reshape(w.shape)")],
        "dw is the transpose, reshaped until it fitted",
        "tests/ops/test_linear.py::test_linear[numpy]",
        "linear",
    ),
    Fault(
        "linear-db-of-the-first-image",
        "scratchvae.ops.linear",
        [("db = dy.sum(axis=0)", "db = dy[0].copy()")],
        "the gradient of the bias is not summed over the batch: right for a batch of one",
        "tests/ops/test_linear.py::test_linear[numpy]",
        "linear",
    ),
    Fault(
        "batch-norm-average-without-m",
        "scratchvae.ops.batch_norm",
        [("_per_channel(dw / M, dy)", "_per_channel(dw, dy)")],
        "one of the two averages in dx is a sum: its M is missing",
        "tests/ops/test_batch_norm.py::test_batch_norm[numpy]",
        "batch_norm",
    ),
    Fault(
        "batch-norm-counts-images-for-values",
        "scratchvae.ops.batch_norm",
        [("M = dy.size // dy.shape[1]", "M = len(dy)")],
        "the averages in dx are divided by the batch alone, not by height and width as well",
        "tests/ops/test_batch_norm.py::test_batch_norm[numpy]",
        "batch_norm",
    ),
    Fault(
        "batch-norm-evaluation-moves-the-statistics",
        "scratchvae.ops.batch_norm",
        [
            (
                "mean, var = running_mean, running_var",
                (
                    "mean, var = running_mean, running_var; "
                    "batch_mean = _sum(x) * x.shape[1] / x.size; "
                    "running_mean = (1 - momentum) * mean + momentum * batch_mean"
                ),
            )
        ],
        "the running mean follows the test images, too",
        "tests/ops/test_batch_norm.py::test_running_statistics[numpy]",
        "batch_norm",
    ),
    Fault(
        "batch-norm-momentum-the-other-way",
        "scratchvae.ops.batch_norm",
        [
            (
                "(1 - momentum) * running_mean + momentum * mean",
                "momentum * running_mean + (1 - momentum) * mean",
            )
        ],
        "momentum is the weight of the old value (as elsewhere), not of the new one",
        "tests/ops/test_batch_norm.py::test_running_statistics[numpy]",
        "batch_norm",
    ),
    Fault(
        "avg-pool-divides-by-a-square",
        "scratchvae.ops.avg_pool2d",
        [("dy / (kernel_size[0] * kernel_size[1])", "dy / kernel_size[0] ** 2")],
        "the divisor is right for square windows only",
        "tests/ops/test_avg_pool2d.py::test_avg_pool2d[numpy]",
        "avg_pool2d",
    ),
    Fault(
        "adaptive-pool-leaves-cells-out",
        "scratchvae.ops.adaptive_avg_pool2d",
        [("-(-(i + 1) * size // output_size)", "max((i + 1) * size // output_size, i + 1)")],
        "the end of a window is rounded down, not up: some cells are in no window",
        "tests/ops/test_adaptive_avg_pool2d.py::test_seven_to_four_overlaps[numpy]",
        "adaptive_avg_pool2d",
    ),
    Fault(
        "upsample-averages-backward",
        "scratchvae.ops.upsample_nearest",
        [(".sum(axis=(3, 5))", ".mean(axis=(3, 5))")],
        "backward averages each block; four copies of a pixel have four gradients to add",
        "tests/ops/test_upsample_nearest.py::test_upsample_nearest[numpy]",
        "upsample_nearest",
    ),
    Fault(
        "relu-mask-always-true",
        "scratchvae.ops.relu",
        [("where(y > 0, dy, 0)", "where(y >= 0, dy, 0)")],
        "the mask asks y >= 0, which holds for every y = max(x, 0)",
        "tests/ops/test_activations.py::test_activation[numpy-relu]",
        "relu",
    ),
    Fault(
        "relu-in-place",
        "scratchvae.ops.relu",
        [("y = array_module(x).where(x.real <= 0, 0, x)", "x[x.real <= 0] = 0; y = x")],
        "forward writes into its input, which belongs to the layer before",
        "tests/ops/test_activations.py::test_activation[numpy-relu]",
        "relu",
    ),
    Fault(
        "leaky-slope-lost-backward",
        "scratchvae.ops.leaky_relu",
        [("where(positive, dy, negative_slope * dy)", "where(positive, dy, 0)")],
        "backward is that of a plain ReLU",
        "tests/ops/test_activations.py::test_activation[numpy-leaky_relu]",
        "leaky_relu",
    ),
    Fault(
        "sigmoid-overflows",
        "scratchvae.ops.sigmoid",
        [("y = xp.where(positive, 1, e) / (1 + e)", "y = xp.exp(x) / (1 + xp.exp(x))")],
        "a formula as it stands in books: infinity divided by infinity is no number",
        "tests/ops/test_activations.py::test_formulas_far_out[numpy-float64]",
        "sigmoid",
    ),
    Fault(
        "tanh-slope-at-y",
        "scratchvae.ops.tanh",
        [("dy * (1 - y**2)", "dy * (1 - array_module(y).tanh(y) ** 2)")],
        "the slope is taken at y, as if the cache held x",
        "tests/ops/test_activations.py::test_activation[numpy-tanh]",
        "tanh",
    ),
    Fault(
        "outside-times-zero",
        "scratchvae.ops.adaptive_avg_pool2d",
        [
            (
                "x[_along(axis, r)].mean(axis) for r in ranges",
                "(x * _share_out(xp.eye(output_size, dtype=x.dtype)[i], size, 0)"
                ".reshape(-1, *(1,) * (3 - axis))).sum(axis) for i in range(output_size)",
            )
        ],
        "pixels outside of a window are multiplied by 0: one infinity makes a channel NaN",
        "tests/ops/test_not_finite.py::test_adaptive_pooling_keeps_it_in_its_windows[numpy-inf]",
    ),
    Fault(
        "matrices-taken-for-arrays",
        "scratchvae.backend",
        [("not isinstance(a, (np.matrix, np.ma.MaskedArray))", "True")],
        "a matrix is multiplied as matrices are, a mask is dropped on the way",
        "tests/ops/test_dtypes.py::test_backward_refuses_what_is_no_array[numpy-sigmoid]",
    ),
    Fault(
        "subclasses-come-back",
        "scratchvae.backend",
        [("return dy.view(np.ndarray) if", "return dy if")],
        "an op that is given a file in memory (np.memmap) returns another one",
        "tests/ops/test_dtypes.py::test_subclasses_of_arrays[numpy-reparameterize]",
    ),
    Fault(
        "errstate-of-the-caller",
        "scratchvae.backend",
        [
            (
                'with np.errstate(all="ignore"):\n            kernel',
                "if True:\n            kernel",
            )
        ],
        "exp(-800), which is 0, is an error inside np.errstate(all='raise')",
        "tests/ops/test_dtypes.py::test_errstate_does_no_harm[numpy-sigmoid]",
    ),
]
