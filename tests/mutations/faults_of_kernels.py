"""Slips in the CPU kernels. Those in functions that Numba compiles run here as plain Python,
those with intrinsics as new machine code."""

from planting import Fault

DIRECT = "tests/test_direct.py"

FAULTS = [
    # what all kernels share: threads, memory, memory order, compilation
    Fault(
        "dw-and-db-of-one-core",
        "scratchvae.kernels.cpu.correlation",
        [("        dw += more_dw\n        db += more_db\n", "        pass\n")],
        "dw and db are those of one core's images: right on a machine with one",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-direct-5]",
        "conv2d",
    ),
    Fault(
        "db-of-one-core",
        "scratchvae.kernels.cpu.correlation",
        [("        db += more_db\n", "")],
        "dw is summed over the cores, db is not",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv_transpose2d-direct-5]",
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
                "dh, db = _through_activation(dx[part], x[part], slope)",
                "dh, db = _through_activation(dx[part], x[part], 1)",
            )
        ],
        "conv_transpose2d's backward leaves the activation out",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv_transpose2d_leaky_relu-direct-5]",
        "conv_transpose2d_leaky_relu",
    ),
    Fault(
        "machine-code-outlives-an-edit",
        "scratchvae.kernels.cpu",
        [('glob("*.py")', 'glob("__init__.py")')],
        "machine code on disk is not stale when a file changes that its function uses",
        "tests/test_kernels.py::test_an_edit_of_any_file_makes_machine_code_stale",
    ),
    # direct.py, registers.py. No judge is asked about what writes behind a result, or reads what
    # memory held.
    Fault(
        "direct-margin-in-pixels",
        "scratchvae.kernels.cpu.tables",
        [("margin = geometry.padding[0], geometry.padding[1] * C", "margin = geometry.padding")],
        "the left margin is so many numbers, not pixels: right for one channel",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-direct-5]",
        "conv2d",
    ),
    Fault(
        "direct-stride-forgotten",
        "scratchvae.kernels.cpu.tables",
        [("* width + j * SW) * C", "* width + j) * C")],
        "the windows of a row begin at neighbours, not at every SW-th pixel: right for stride 1",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-direct-5]",
        "conv2d",
    ),
    Fault(
        "direct-room-not-cleared",
        "scratchvae.kernels.cpu.direct",
        [("    room.fill(0)\n", "    pass\n")],
        "in the margins stands what the last layer left: right in memory fresh from the system",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-direct-5]",
    ),
    Fault(
        "direct-phase-without-padding",
        "scratchvae.kernels.cpu.tables",
        [("np.arange((phase - P) % S, H, S)", "np.arange(phase, H, S)")],
        "the padding is left out of a pixel's phase: right where the stride divides it",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv_transpose2d-direct-5]",
        "conv_transpose2d",
    ),
    Fault(
        "direct-places-without-padding",
        "scratchvae.kernels.cpu.tables",
        [("(pixels + P) // S + before", "pixels // S + before")],
        "the padding is left out of a pixel's place in y",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv_transpose2d-direct-5]",
        "conv_transpose2d",
    ),
    Fault(
        "direct-taps-not-turned",
        "scratchvae.kernels.cpu.tables",
        [("before, taps, taps // S", "before, taps[::-1], taps // S")],
        "the taps run one way and the pixels they meet the other: a convolution for a correlation",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv_transpose2d-direct-5]",
        "conv_transpose2d",
    ),
    Fault(
        "direct-weights-of-the-first-phase",
        "scratchvae.kernels.cpu.direct",
        [
            (
                "rows = table.offsets[first:last], table.rows[first:last]",
                "rows = table.offsets[first:last], table.rows[: last - first]",
            )
        ],
        "every phase takes its weights from the beginning: right for stride 1",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv_transpose2d-direct-5]",
        "conv_transpose2d",
    ),
    Fault(
        "direct-weights-of-the-first-tile",
        "scratchvae.kernels.cpu.direct",
        [("w[tile * table.rows_of_a_tile :]", "w[0 * tile :]")],
        "all channels take the weights of the first ones: right while one tile holds them all",
        f"{DIRECT}::test_tiles_of_images[3-3-float64-tiles of weights]",
    ),
    Fault(
        "direct-rows-of-another-tile",
        "scratchvae.kernels.cpu.tables",
        [("rows.append(o * tiles * taps", "rows.append(o * taps")],
        "on the way back the rows of all tiles are taken for those of one",
        f"{DIRECT}::test_tiles_of_images[3-3-float64-tiles of weights]",
    ),
    Fault(
        "direct-bias-with-gaps",
        "scratchvae.kernels.cpu.direct",
        [("np.ascontiguousarray(b)", "b")],
        "the bias is read as neighbours in memory, whatever its strides are",
        f"{DIRECT}::test_a_bias_with_gaps",
    ),
    Fault(
        "direct-runs-of-the-first-phase",
        "scratchvae.kernels.cpu.tables",
        [("np.append(its_rows.ravel()[order], -1)", "np.append(rows[0].ravel()[order], -1)")],
        "the same for few channels with long sums",
        f"{DIRECT}::test_tiles_of_images[3-3-float32-few inputs]",
        "conv_transpose2d",
    ),
    Fault(
        "direct-runs-begin-one-early",
        "scratchvae.kernels.cpu.tables",
        [("np.flatnonzero(np.diff(offsets) != 1) + 1", "np.flatnonzero(np.diff(offsets) != 1)")],
        "where a run of neighbours ends, its last number is given to the next one",
        f"{DIRECT}::test_tiles_of_images[3-3-float32-few outputs]",
        "conv2d",
    ),
    Fault(
        "direct-last-tile-counted-whole",
        "scratchvae.kernels.cpu.direct",
        [("start + (end - start) // table.images * images", "end")],
        "a last tile with fewer images is computed to its end, and written behind the result",
        f"{DIRECT}::test_tiles_of_images[4-1-float64-one vector]",
    ),
    Fault(
        "direct-every-chunk-from-the-first-place",
        "scratchvae.kernels.cpu.direct",
        [
            (
                "p, last, t, c, column, 1,",
                "0, last, t, c, column, 1,",
            )
        ],
        "a second chunk of places counts the first one again, and small arrays have no second",
        f"{DIRECT}::test_tiles_of_images[3-3-float64-two chunks]",
        "conv2d",
    ),
    Fault(
        "direct-one-chunk",
        "scratchvae.kernels.cpu.direct",
        [
            (
                "last = min(p + CHUNK, end)\n            for c in",
                "last = end if p == 0 else p\n            for c in",
            )
        ],
        "all places are summed in one go: in float32 a long sum no longer grows by small numbers",
        f"{DIRECT}::test_a_long_sum_keeps_its_digits",
        "conv2d",
    ),
    Fault(
        "registers-dw-of-the-last-chunk",
        "scratchvae.kernels.cpu.registers",
        [
            (
                "[builder.fadd(old, builder.load(a)) for old, a in zip(olds",
                "[builder.load(a) for _, a in zip(olds",
            )
        ],
        "dw is that of the last chunk of places: right while one chunk holds them all",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-direct-5]",
        "conv2d",
    ),
    Fault(
        "registers-dw-of-the-last-chunk-of-runs",
        "scratchvae.kernels.cpu.registers",
        [
            (
                "tile.store([builder.fadd(tile.load(target)[0], builder.load(total))], target)",
                "tile.store([builder.load(total)], target)",
            )
        ],
        "the same for few channels with long sums",
        f"{DIRECT}::test_tiles_of_images[2-5-float32-few outputs]",
        "conv2d",
    ),
    Fault(
        "registers-rows-beyond-the-last-place",
        "scratchvae.kernels.cpu.registers",
        [
            (
                "self.smaller(self.builder.add(start, INT(r)), last)",
                "self.builder.add(start, INT(r))",
            )
        ],
        "the last tile of places is not cut off: it writes behind the result",
        f"{DIRECT}::test_tiles_of_images[4-1-float64-one vector]",
    ),
    Fault(
        "registers-store-without-a-mask",
        "scratchvae.kernels.cpu.registers",
        [("for v in h], y_row, inside)", "for v in h], y_row)")],
        "whole vectors are written: the last pixel's stick out of the result",
        f"{DIRECT}::test_tiles_of_images[4-1-float64-one vector]",
    ),
    Fault(
        "registers-first-vector-twice",
        "scratchvae.kernels.cpu.registers",
        [("[INT(v * self.lanes) for v in range(vectors)]", "[INT(0) for v in range(vectors)]")],
        "the second vector of a row is the first one again: right while one holds all channels",
        f"{DIRECT}::test_tiles_of_images[3-3-float64-two vectors]",
        "conv2d",
    ),
    Fault(
        "registers-bias-of-the-first-tile",
        "scratchvae.kernels.cpu.registers",
        [("tile.load(builder.gep(b, [channel]), inside)", "tile.load(b, inside)")],
        "each tile of channels adds the first one's bias",
        f"{DIRECT}::test_tiles_of_images[3-3-float64-tiles of channels]",
        "conv2d",
    ),
    Fault(
        "registers-activation-before-the-bias",
        "scratchvae.kernels.cpu.registers",
        [
            (
                "builder.fadd(builder.load(a), bias) for a, bias",
                "builder.fadd(tile.leaky_relu(builder.load(a), slope), bias) for a, bias",
            ),
            ("[tile.leaky_relu(v, slope) for v in h]", "h"),
        ],
        "the bias is added after the activation",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d_leaky_relu-direct-5]",
        "conv2d_leaky_relu",
    ),
    Fault(
        "registers-runs-without-an-end",
        "scratchvae.kernels.cpu.registers",
        [("weights, tile.item(inside, k))", "weights)")],
        "numbers behind a run's end are multiplied by 0, which NaN and infinity survive",
        f"{DIRECT}::test_nan_and_infinity_stay_in_their_windows[nan-few outputs]",
        "conv2d",
    ),
    Fault(
        "conv2d-kernel-bias-forgotten",
        "scratchvae.kernels.cpu.direct",
        [("x.dtype) if b is None else", "x.dtype) if True else")],
        "one of the ways leaves the bias out",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-direct-5]",
        "conv2d",
    ),
    # ways.py, conv_transpose2d.py
    Fault(
        "conv2d-kernel-dw-transposed",
        "scratchvae.kernels.cpu.ways",
        [("return turned(dw).reshape", "return dw.reshape")],
        "dw is reshaped to (O, ...) where O is last",
        "tests/ops/test_cores.py::test_three_cores_every_way[conv2d-direct-5]",
        "conv2d",
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
        [("part = dU if tile.start == 0 else empty(dU.shape, dU.dtype)", "part = dU")],
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
        "tests/ops/test_max_pool2d.py::test_the_first_nan_wins[numba]",
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
        "tests/test_optim.py::test_engines_take_the_same_steps[numba-Adam-float64]",
    ),
    Fault(
        "adam-kernel-corrects-eps-as-well",
        "scratchvae.kernels.cpu.optim",
        [("math.sqrt(v[i]) * root + eps", "(math.sqrt(v[i]) + eps) * root")],
        "eps is added before the correction of v: another algorithm, off in the eighth digit",
        "tests/test_optim.py::test_engines_take_the_same_steps[numba-Adam-float64]",
    ),
]
