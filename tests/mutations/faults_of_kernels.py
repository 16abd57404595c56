"""Slips in the CPU kernels. Those in functions that Numba compiles run here as plain Python."""

from planting import Fault

FAULTS = [
    Fault(
        "gather-one-column-off",
        "scratchvae.kernels.cpu.patches",
        [
            (
                "start = (j * SW - PW) * C  # of the run",
                "start = (j * SW - PW + 1) * C  # of the run",
            )
        ],
        "the patches are read one column too far to the right",
        "tests/ops/test_conv2d.py::test_one_by_hand[numba]",
        "conv2d",
    ),
    Fault(
        "gather-leaves-old-numbers-in-the-padding",
        "scratchvae.kernels.cpu.patches",
        [("if not inside or last - first < run:", "if not inside:")],
        "what sticks out at the sides is not set to 0: numbers of an earlier tile stay there",
        "tests/ops/test_conv2d.py::test_conv2d[numba]",
        "conv2d",
    ),
    Fault(
        "scatter-overwrites-overlaps",
        "scratchvae.kernels.cpu.patches",
        [("x[n, h, start + k] += source[k]", "x[n, h, start + k] = source[k]")],
        "where patches overlap, the last one overwrites the sum: = for +=",
        "tests/ops/test_conv_transpose2d.py::test_conv_transpose2d[numba]",
        "conv_transpose2d",
    ),
    Fault(
        "scatter-overwrites-overlaps-of-long-runs",
        "scratchvae.kernels.cpu.patches",
        [("target[k] += source[k]", "target[k] = source[k]")],
        "the same in the branch for many channels, which small arrays never reach",
        "tests/ops/test_conv2d.py::test_many_channels[numba]",
        "conv2d",
    ),
    Fault(
        "conv2d-kernel-dw-transposed",
        "scratchvae.kernels.cpu.conv2d",
        [
            (
                "dw.reshape(O, *kernel_size, C).transpose(0, 3, 1, 2)",
                "dw.reshape(O, C, *kernel_size)",
            )
        ],
        "dw is reshaped to its shape without bringing the channels to the front",
        "tests/ops/test_conv2d.py::test_conv2d[numba]",
        "conv2d",
    ),
    Fault(
        "conv2d-kernel-dw-of-the-last-tile",
        "scratchvae.kernels.cpu.conv2d",
        [("dw += dy_tile.T @ rows", "dw = dy_tile.T @ rows")],
        "dw is that of the last tile of images: right while one tile holds the batch",
        "tests/ops/test_conv2d.py::test_conv2d[numba]",
        "conv2d",
    ),
    Fault(
        "conv2d-kernel-bias-forgotten",
        "scratchvae.kernels.cpu.conv2d",
        [("y += b", "pass")],
        "the kernel leaves the bias out",
        "tests/ops/test_conv2d.py::test_one_by_hand[numba]",
        "conv2d",
    ),
    Fault(
        "conv-transpose2d-kernel-output-padding-off-by-one",
        "scratchvae.kernels.cpu.conv_transpose2d",
        [("kernel_size[0] + output_padding[0]", "kernel_size[0] + 2 * output_padding[0]")],
        "the kernel counts the output padding twice, as if it were a padding of both sides",
        "tests/ops/test_conv_transpose2d.py::test_sizes_of_the_celeba_decoder[numba]",
        "conv_transpose2d",
    ),
    Fault(
        "max-pool-kernel-overwrites-shared-winners",
        "scratchvae.kernels.cpu.max_pool2d",
        [("+= dy[n, c, i, j]", "= dy[n, c, i, j]")],
        "a cell that wins in two windows gets the gradient of one",
        "tests/ops/test_max_pool2d.py::test_max_pool2d[numba]",
        "max_pool2d",
    ),
    Fault(
        "max-pool-kernel-gives-ties-to-the-last",
        "scratchvae.kernels.cpu.max_pool2d",
        [("if image[h, w] > best or", "if image[h, w] >= best or")],
        "a tie goes to the last cell, not to the first as in the reference",
        "tests/ops/test_max_pool2d.py::test_a_tie_goes_to_the_first_and_to_it_alone[numba]",
        "max_pool2d",
    ),
    Fault(
        "relu-kernel-mask-of-the-wrong-sign",
        "scratchvae.kernels.cpu.relu",
        [("return dy if y > 0 else 0", "return 0 if y > 0 else dy")],
        "the gradient passes where the neuron is off",
        "tests/ops/test_activations.py::test_activation[numba-relu]",
        "relu",
    ),
    Fault(
        "relu-kernel-swallows-nan",
        "scratchvae.kernels.cpu.relu",
        [("np.maximum(x, 0)", "np.fmax(x, 0)")],
        "NaN becomes 0: a run that has diverged looks healthy",
        "tests/ops/test_activations.py::test_nan_stays_nan[numba-relu]",
        "relu",
    ),
    Fault(
        "adam-kernel-forgets-a-root",
        "scratchvae.kernels.cpu.optim",
        [("root = 1 / math.sqrt(1 - beta2**step)", "root = 1 / (1 - beta2**step)")],
        "the correction of v stands outside the root, without a root of its own",
        "tests/test_optim.py::test_engines_take_the_same_steps[Adam-float64]",
    ),
    Fault(
        "adam-kernel-corrects-eps-as-well",
        "scratchvae.kernels.cpu.optim",
        [("math.sqrt(v[i]) * root + eps", "(math.sqrt(v[i]) + eps) * root")],
        "eps is added before the correction of v: another algorithm, off in the eighth digit",
        "tests/test_optim.py::test_engines_take_the_same_steps[Adam-float64]",
    ),
]
