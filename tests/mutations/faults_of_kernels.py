"""Slips in the CPU kernels. Those in functions that Numba compiles run here as plain Python."""

from planting import Fault

FAULTS = [
    # what all kernels share: threads, memory, memory order, compilation
    Fault(
        "share-leaves-out-the-last-image",
        "scratchvae.kernels.cpu.threads",
        [
            (
                "slice(count * i // parts, count * (i + 1) // parts)",
                "slice(count // parts * i, count // parts * (i + 1))",
            )
        ],
        "each core takes N // cores images: those that are left over nobody does",
        "tests/test_threads.py::test_parts_make_up_the_whole[2-7]",
    ),
    Fault(
        "share-swallows-errors",
        "scratchvae.kernels.cpu.threads",
        [("    if errors:\n        raise errors[0]", "    pass")],
        "an error on another core is lost, and a part of the result is what memory held",
        "tests/test_threads.py::test_an_error_in_any_part_arrives_after_all_are_done[1]",
    ),
    Fault(
        "dw-and-db-of-one-core",
        "scratchvae.kernels.cpu.correlation",
        [("dw, db = (sum(values) for values in zip(*parts, strict=True))", "dw, db = parts[0]")],
        "dw and db are those of one core's images: right on a machine with one",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-patches-5]",
        "conv2d",
    ),
    Fault(
        "db-of-one-core",
        "scratchvae.kernels.cpu.correlation",
        [
            (
                "dw, db = (sum(values) for values in zip(*parts, strict=True))",
                "dw, db = sum(dw for dw, _ in parts), parts[0][1]",
            )
        ],
        "dw is summed over the cores, db is not",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv_transpose2d-planes-5]",
        "conv_transpose2d",
    ),
    Fault(
        "linear-kernel-bias-of-the-first-core",
        "scratchvae.kernels.cpu.linear",
        [("None if b is None else b[part]", "None if b is None else b[: part.stop - part.start]")],
        "every core adds the first numbers of the bias to its columns",
        "tests/ops/test_cores.py::test_three_cores[linear-5]",
        "linear",
    ),
    Fault(
        "memory-lease-forgotten",
        "scratchvae.kernels.cpu.memory",
        [
            (
                "return np.asarray(_Lease(_find(size), shape, dtype))",
                "return np.ndarray(shape, dtype, _Lease(_find(size), shape, dtype).block.bytes)",
            )
        ],
        "the array does not hold its block's lease: the next one gets it while this one lives",
        "tests/test_memory.py::test_a_block_comes_back_when_its_last_view_dies",
    ),
    Fault(
        "memory-block-stays-free",
        "scratchvae.kernels.cpu.memory",
        [("            _free.remove(block)\n", "")],
        "a block is handed out, and stays in the list of free ones",
        "tests/test_memory.py::test_two_arrays_never_get_the_same_block",
    ),
    Fault(
        "memory-released-blocks-come-back",
        "scratchvae.kernels.cpu.memory",
        [("if self.block.generation == _now:", "if True:")],
        "blocks that were in use when memory was given back are kept all the same, for ever",
        "tests/test_memory.py::test_release_gives_back_at_once_what_is_free_and_later_what_is_not",
    ),
    Fault(
        "empty-like-in-the-wrong-order",
        "scratchvae.kernels.cpu.memory",
        [(".transpose(np.argsort(order))", ".transpose(order)")],
        "axes are put back by the order, not its inverse: the same for two axes, not for four",
        "tests/test_memory.py::test_memory_order_is_kept",
    ),
    Fault(
        "images-as-rows-of-a-copy",
        "scratchvae.kernels.cpu.memory",
        [
            (
                "order = sorted(range(1, a.ndim), key=lambda axis: -a.strides[axis])",
                "order = range(1, a.ndim)",
            )
        ],
        "with channels last the rows are a copy, and what is written to them is lost",
        "tests/test_memory.py::test_memory_order_is_kept",
    ),
    Fault(
        "elements-in-two-memory-orders",
        "scratchvae.kernels.cpu.elements",
        [("[_flat(a, order) if", "[_flat(a, memory_order(a)) if")],
        "each array is flattened in its own memory order: dy and y meet at different pixels",
        "tests/ops/test_activations.py::test_dy_may_have_another_memory_order[numba-relu]",
        "relu",
    ),
    Fault(
        "turned-with-its-edges-exchanged",
        "scratchvae.kernels.cpu.layout",
        [("min(r0 + BLOCK, R)", "min(r0 + BLOCK, stop)")],
        "the last blocks end with the wrong side: right for squares, and for multiples of 32",
        "tests/test_kernels.py::test_turned_is_the_transpose[shape1-1]",
    ),
    Fault(
        "sum-of-rows-takes-one-lane",
        "scratchvae.kernels.cpu.rows",
        [("total.reshape(-1, rows.shape[1]).sum(axis=0)", "total[: rows.shape[1]]")],
        "several rows are added side by side, and the first of these sums is returned",
        "tests/test_rows.py::test_a_long_sum_keeps_its_digits",
        "conv2d",
    ),
    Fault(
        "sum-of-rows-of-the-last-chunk",
        "scratchvae.kernels.cpu.rows",
        [
            (
                "                local[c] += row[c]\n"
                "        for c in range(C):\n            total[c] += local[c]",
                "                local[c] += row[c]\n"
                "        for c in range(C):\n            total[c] = local[c]",
            )
        ],
        "the sum is that of the last 64 rows",
        "tests/ops/test_linear.py::test_a_long_batch[numba]",
        "linear",
    ),
    Fault(
        "activation-kernel-asks-dy-for-the-sign",
        "scratchvae.kernels.cpu.rows",
        [("dy_row[c] if y_row[c] > 0 else", "dy_row[c] if dy_row[c] > 0 else")],
        "the mask of the activation is that of dy, not of y",
        "tests/ops/test_cores.py::test_three_cores[linear_leaky_relu-5]",
        "linear_leaky_relu",
    ),
    Fault(
        "activation-kernel-sums-db-before-it",
        "scratchvae.kernels.cpu.rows",
        [("local[c] += dh_row[c]", "local[c] += dy_row[c]")],
        "db is the sum of dy, as if there were no activation",
        "tests/ops/test_cores.py::test_three_cores[linear_leaky_relu-5]",
        "linear_leaky_relu",
    ),
    Fault(
        "activation-kernel-leaks-without-the-bias",
        "scratchvae.kernels.cpu.rows",
        [("row[c] = h if h > 0 else slope * h", "row[c] = h if h > 0 else slope * row[c]")],
        "where the activation is off, the bias is left out",
        "tests/ops/test_cores.py::test_three_cores[linear_leaky_relu-5]",
        "linear_leaky_relu",
    ),
    Fault(
        "activation-kernel-in-one-half-of-the-convolutions",
        "scratchvae.kernels.cpu.correlation",
        [
            (
                "dh, db = way.through_activation(dx[part], x[part], slope)",
                "dh, db = way.through_activation(dx[part], x[part], 1)",
            )
        ],
        "conv_transpose2d's backward leaves the activation out",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv_transpose2d_leaky_relu-patches-5]",
        "conv_transpose2d_leaky_relu",
    ),
    Fault(
        "machine-code-outlives-an-edit",
        "scratchvae.kernels.cpu",
        [('glob("*.py")', 'glob("__init__.py")')],
        "machine code on disk is not stale when a file changes that its function uses",
        "tests/test_kernels.py::test_an_edit_of_any_file_makes_machine_code_stale",
    ),
    # patches.py, planes.py: what sticks out, where runs begin
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
        "tests/ops/test_conv2d.py::test_many_channels[numba]",
        "conv2d",
    ),
    Fault(
        "gather-leaves-old-numbers-at-the-left",
        "scratchvae.kernels.cpu.patches",
        [("rows[n, i, :left, u, k] = 0", "pass")],
        "what sticks out at the left is not set to 0: numbers of an earlier tile stay there",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-patches-5]",
        "conv2d",
    ),
    Fault(
        "gather-leaves-old-numbers-at-the-right",
        "scratchvae.kernels.cpu.patches",
        [("rows[n, i, right:, u, k] = 0", "pass")],
        "the same at the right",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-patches-5]",
        "conv2d",
    ),
    Fault(
        "gather-leaves-old-numbers-in-long-runs",
        "scratchvae.kernels.cpu.patches",
        [("rows[n, i, j, u, last:] = 0", "pass")],
        "the same in the branch for many channels, which small arrays never reach",
        "tests/ops/test_conv2d.py::test_many_channels[numba]",
        "conv2d",
    ),
    Fault(
        "gather-wraps-around-at-the-top",
        "scratchvae.kernels.cpu.patches",
        [("if h < 0 or h >= H:\n                    rows", "if h >= H:\n                    rows")],
        "above the image, row -1 is read: the last one",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-patches-5]",
        "conv2d",
    ),
    Fault(
        "gather-cuts-off-the-bottom",
        "scratchvae.kernels.cpu.patches",
        [
            (
                "if h < 0 or h >= H:\n                    rows",
                "if h < 0 or h >= H - 1:\n                    rows",
            )
        ],
        "the last row is taken for padding",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-patches-5]",
        "conv2d",
    ),
    Fault(
        "scatter-wraps-around-at-the-left",
        "scratchvae.kernels.cpu.patches",
        [
            (
                "first, last = max(0, -start), min(run, W - start)",
                "first, last = 0, min(run, W - start)",
            )
        ],
        "what sticks out at the left is added at the right end: a negative index",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv_transpose2d-patches-5]",
        "conv_transpose2d",
    ),
    Fault(
        "scatter-overwrites-overlaps",
        "scratchvae.kernels.cpu.patches",
        [("x[n, h, start + k] += source[k]", "x[n, h, start + k] = source[k]")],
        "where patches overlap, the last one overwrites the sum: = for +=",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv_transpose2d-patches-5]",
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
        "planes-first-patch-rounded-down",
        "scratchvae.kernels.cpu.planes",
        [("first = min(OW, max(0, -((v - PW) // SW)))", "first = min(OW, max(0, (PW - v) // SW))")],
        "the number of patches that begin left of the image is rounded down, not up",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-planes-5]",
        "conv2d",
    ),
    Fault(
        "planes-last-patch-lost",
        "scratchvae.kernels.cpu.planes",
        [
            (
                "return first, max(first, min(OW, (W - 1 + PW - v) // SW + 1))",
                "return first, max(first, min(OW, (W - 1 + PW - v) // SW))",
            )
        ],
        "an end that is taken for an index: the last patch inside the image is taken for padding",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-planes-5]",
        "conv2d",
    ),
    Fault(
        "planes-stride-forgotten",
        "scratchvae.kernels.cpu.planes",
        [("inside[j] = line[j * SW]", "inside[j] = line[j]")],
        "a line of patches reads neighbours, not every SW-th pixel: right for stride 1",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-planes-5]",
        "conv2d",
    ),
    Fault(
        "planes-scatter-overwrites-overlaps",
        "scratchvae.kernels.cpu.planes",
        [("line[j * SW] += inside[j]", "line[j * SW] = inside[j]")],
        "where patches overlap, the last one overwrites the sum; here for strides above 1",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv_transpose2d-planes-5]",
        "conv_transpose2d",
    ),
    # correlation.py and ways.py
    Fault(
        "conv2d-kernel-dw-transposed",
        "scratchvae.kernels.cpu.ways",
        [
            (
                "dw = dw.reshape(*self.geometry.kernel_size, self.C, self.O)\n"
                "        return np.ascontiguousarray(dw.transpose(2, 0, 1, 3))",
                "return dw.reshape(self.C, *self.geometry.kernel_size, self.O)",
            )
        ],
        "dw is reshaped to its shape without bringing the channels to the front",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-patches-5]",
        "conv2d",
    ),
    Fault(
        "conv2d-kernel-dw-of-the-last-tile",
        "scratchvae.kernels.cpu.ways",
        [
            (
                "dw += np.matmul(rows.T, y_rows, out=dw_tile)",
                "dw = np.matmul(rows.T, y_rows, out=dw_tile)",
            )
        ],
        "dw is that of the last tile of images: right while one tile holds the batch",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-patches-5]",
        "conv2d",
    ),
    Fault(
        "conv2d-kernel-bias-forgotten",
        "scratchvae.kernels.cpu.ways",
        [
            (
                "finish_rows(np.matmul(rows, self.w, out=y_rows), b, slope)",
                "finish_rows(np.matmul(rows, self.w, out=y_rows), None, slope)",
            )
        ],
        "one of the three ways leaves the bias out",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-patches-5]",
        "conv2d",
    ),
    Fault(
        "conv-kernel-dx-on-top-of-old-numbers",
        "scratchvae.kernels.cpu.ways",
        [("x_out[tile] = 0\n                scatter_add(rows", "scatter_add(rows")],
        "dx is added to what its memory held: right where that comes fresh from the system",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-patches-5]",
    ),
    Fault(
        "conv-transpose2d-kernel-output-padding-off-by-one",
        "scratchvae.kernels.cpu.conv_transpose2d",
        [("2 * P + K + OP for", "2 * P + K + 2 * OP for")],
        "the kernel counts the output padding twice, as if it were a padding of both sides",
        "tests/ops/test_conv_transpose2d.py::test_sizes_of_the_celeba_decoder[numba]",
        "conv_transpose2d",
    ),
    # toom_cook.py, sparse_axes.py
    Fault(
        "toom-cook-leaves-out-the-wrong-point",
        "scratchvae.kernels.cpu.toom_cook",
        [("inverse(evaluate(at[:n], n))", "inverse(evaluate(at[-n:], n))")],
        "a short tile or phase leaves out the first point, its outputs and weights the last",
        "tests/test_toom_cook.py::test_tiles_of_two_sizes",
        "conv2d",
    ),
    Fault(
        "toom-cook-inverse-transposed",
        "scratchvae.kernels.cpu.toom_cook",
        [("B_tile[i, p]", "B_tile[p, i]")],
        "the inputs are transformed by E^-1 instead of its transpose",
        "tests/test_toom_cook.py::test_tiles_of_two_sizes",
        "conv2d",
    ),
    Fault(
        "toom-cook-short-tile-as-a-long-one",
        "scratchvae.kernels.cpu.toom_cook",
        [("inverse(evaluate(at[:n], n))", "inverse(evaluate(at[: large + r - 1], large + r - 1))")],
        "tiles of m - 1 outputs get the matrix of those of m",
        "tests/test_toom_cook.py::test_tiles_of_two_sizes",
        "conv2d",
    ),
    Fault(
        "toom-cook-dw-of-the-last-slice",
        "scratchvae.kernels.cpu.toom_cook",
        [('part = dU if tile.start == 0 else scratch("dU", dU.shape, dU.dtype)', "part = dU")],
        "the second slice's dw overwrites the first's: right while one slice holds the batch",
        "tests/test_toom_cook.py::test_slices_of_the_batch[5]",
    ),
    Fault(
        "toom-cook-slice-not-filled",
        "scratchvae.kernels.cpu.toom_cook",
        [("            V[...] = M[...] = 0\n", "            pass\n")],
        "a slice with fewer images keeps an earlier one's: dw counts those again, and their NaN",
        "tests/test_toom_cook.py::test_slices_of_the_batch[5]",
    ),
    Fault(
        "transform-keeps-its-last-four-terms",
        "scratchvae.kernels.cpu.sparse_axes",
        [("        out[at + c] += first + last", "        out[at + c] = first + last")],
        "rows with more than four terms: the second group of four overwrites the first",
        "tests/test_toom_cook.py::test_tiles_of_two_sizes",
        "conv2d",
    ),
    Fault(
        "transform-fills-up-with-strangers",
        "scratchvae.kernels.cpu.sparse_axes",
        [("four + fill * (four[:1] or near)", "four + fill * [0]")],
        "unused terms, of factor 0, read the first pixel: if it is NaN, all is",
        "tests/test_toom_cook.py::test_a_nan_stays_in_its_tile",
    ),
    # one op each
    Fault(
        "batch-norm-kernel-merges-without-delta",
        "scratchvae.kernels.cpu.batch_norm",
        [("squares + s + delta**2 * (count * (total - count) / total)", "squares + s")],
        "variances of groups are put together as if all had one mean",
        "tests/ops/test_batch_norm.py::test_batch_norm[numba]",
        "batch_norm",
    ),
    Fault(
        "batch-norm-kernel-merges-chunks-without-delta",
        "scratchvae.kernels.cpu.batch_norm",
        [("deviations[c] + delta * delta * (start * (n / (start + n)))", "deviations[c]")],
        "the same for chunks of 64 rows, which small arrays do not fill",
        "tests/ops/test_batch_norm.py::test_a_long_batch[numba-True]",
        "batch_norm",
    ),
    Fault(
        "batch-norm-kernel-mean-of-the-last-chunk",
        "scratchvae.kernels.cpu.batch_norm",
        [("mean[c] += delta * (n / (start + n))", "mean[c] = local[c]")],
        "the mean is that of the last 64 rows",
        "tests/ops/test_batch_norm.py::test_a_long_batch[numba-True]",
        "batch_norm",
    ),
    Fault(
        "batch-norm-kernel-db-of-the-last-chunk",
        "scratchvae.kernels.cpu.batch_norm",
        [("            db[c] += local_db[c]", "            db[c] = local_db[c]")],
        "db is that of the last 64 rows",
        "tests/ops/test_batch_norm.py::test_a_long_batch[numba-True]",
        "batch_norm",
    ),
    Fault(
        "batch-norm-kernel-sums-of-one-core",
        "scratchvae.kernels.cpu.batch_norm",
        [("db, dw = sum(parts).reshape", "db, dw = parts[0].reshape")],
        "dw, db and with them dx come from one core's rows",
        "tests/ops/test_cores.py::test_three_cores[batch_norm-5]",
        "batch_norm",
    ),
    Fault(
        "batch-norm-kernel-running-var-biased",
        "scratchvae.kernels.cpu.batch_norm",
        [("(var * (M / (M - 1)))", "var")],
        "the kernel's running variance divides by M, not by M - 1",
        "tests/ops/test_batch_norm.py::test_running_statistics[numba]",
        "batch_norm",
    ),
    Fault(
        "batch-norm-kernel-slope-in-evaluation",
        "scratchvae.kernels.cpu.batch_norm",
        [
            (
                "(inv_std * dw / M, db / M) if training else",
                "(inv_std * dw / M, db / M) if True else",
            )
        ],
        "in evaluation, too, dx is that of a mean and a variance that move with x",
        "tests/ops/test_batch_norm.py::test_evaluation_treats_the_statistics_as_constants[numba]",
        "batch_norm",
    ),
    Fault(
        "max-pool-kernel-overwrites-shared-winners",
        "scratchvae.kernels.cpu.max_pool2d",
        [
            (
                "pixel[c] += d[c] if at[c] == cell else ZERO",
                "pixel[c] = d[c] if at[c] == cell else pixel[c]",
            )
        ],
        "a cell that wins in two windows gets the gradient of one",
        "tests/ops/test_max_pool2d.py::test_max_pool2d[numba]",
        "max_pool2d",
    ),
    Fault(
        "max-pool-kernel-gives-ties-to-the-last",
        "scratchvae.kernels.cpu.max_pool2d",
        [("better = (a > b) |", "better = (a >= b) |")],
        "a tie goes to the last cell, not to the first as in the reference",
        "tests/ops/test_max_pool2d.py::test_a_tie_goes_to_the_first_and_to_it_alone[numba]",
        "max_pool2d",
    ),
    Fault(
        "max-pool-kernel-lets-nan-lose",
        "scratchvae.kernels.cpu.max_pool2d",
        [("better = (a > b) | ((a != a) & (b == b))", "better = a > b")],
        "NaN compares false: unless it comes first, it disappears from the image",
        "tests/ops/test_max_pool2d.py::test_nan_wins[numba]",
        "max_pool2d",
    ),
    Fault(
        "averages-weight-of-rows-only",
        "scratchvae.kernels.cpu.averages",
        [("total, weight = y[n, i, j], p[i] * q[j]", "total, weight = y[n, i, j], p[i]")],
        "a window's sum is divided by its height, not by its area",
        "tests/ops/test_avg_pool2d.py::test_avg_pool2d[numba]",
        "avg_pool2d",
    ),
    Fault(
        "averages-overwrite-overlaps",
        "scratchvae.kernels.cpu.averages",
        [("pixel[c] += weight * value[c]", "pixel[c] = weight * value[c]")],
        "a pixel in two windows gets the gradient of the last one",
        "tests/ops/test_adaptive_avg_pool2d.py::test_adaptive_avg_pool2d[numba]",
        "adaptive_avg_pool2d",
    ),
    Fault(
        "avg-pool-kernel-leaves-padding-out",
        "scratchvae.kernels.cpu.avg_pool2d",
        [
            (
                "min(i * S - P + K, size), 1 / K)",
                "min(i * S - P + K, size), 1 / (min(i * S - P + K, size) - max(i * S - P, 0)))",
            )
        ],
        "the kernel divides by the number of pixels in the image, the op by that of the window",
        "tests/ops/test_avg_pool2d.py::test_padding_counts[numba]",
        "avg_pool2d",
    ),
    Fault(
        "relu-kernel-mask-of-the-wrong-sign",
        "scratchvae.kernels.cpu.relu",
        [("dy[i] if y[i] > 0 else ZERO", "ZERO if y[i] > 0 else dy[i]")],
        "the gradient passes where the neuron is off",
        "tests/ops/test_activations.py::test_activation[numba-relu]",
        "relu",
    ),
    Fault(
        "relu-kernel-swallows-nan",
        "scratchvae.kernels.cpu.relu",
        [("ZERO if x[i] <= 0 else x[i]", "x[i] if x[i] > 0 else ZERO")],
        "NaN becomes 0: a run that has diverged looks healthy",
        "tests/ops/test_activations.py::test_nan_stays_nan[numba-relu]",
        "relu",
    ),
    Fault(
        "leaky-relu-kernel-trusts-the-sign-of-y",
        "scratchvae.kernels.cpu.leaky_relu",
        [("cache = (y if slope > 0 else x, slope)", "cache = (y, slope)")],
        "y has the sign of x, but not if the slope is negative",
        "tests/ops/test_activations.py::test_leaky_relu_slope_of_no_sign[numba--0.5]",
        "leaky_relu",
    ),
    Fault(
        "bce-kernel-target-of-the-wrong-sign",
        "scratchvae.kernels.cpu.bce",
        [("- t * logit +", "+ t * logit +")],
        "the loss of a pixel is max(l, 0) + t l: the sign that log(1 - p) tempts to",
        "tests/ops/test_losses.py::test_bce[numba]",
        "bce",
    ),
    Fault(
        "bce-kernel-sigmoid-of-the-other-sign",
        "scratchvae.kernels.cpu.bce",
        [("(ONE if positive else e[n, p])", "(e[n, p] if positive else ONE)")],
        "the gradient takes s(-l) for s(l)",
        "tests/ops/test_losses.py::test_bce[numba]",
        "bce",
    ),
    Fault(
        "mse-kernel-sum-not-mean",
        "scratchvae.kernels.cpu.mse",
        [("    y /= divisor\n", "")],
        "the kernel forgets the divisor: right for reduction='sum'",
        "tests/ops/test_losses.py::test_mse[numba]",
        "mse",
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
