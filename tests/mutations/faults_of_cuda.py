"""Mistakes in the CUDA kernels, which tests/on_host compiles with g++ and runs on the CPU.

The judges do not run CUDA, so they are not asked. A header is part of each file that includes it;
its fault is planted in the named file. Masks that keep a kernel from writing out of bounds are not
here, because without them the process could crash; see test_cuda_barriers.py and
test_cuda_addresses.py.
"""

from planting import Fault

KERNELS, OPS, HERE = "kernels/cuda", "tests/ops", "[cuda_on_host]"

FAULTS = [
    # convolution.cu, tiles.cuh
    Fault(
        "cuda-gather-adds-the-padding",
        f"{KERNELS}/convolution.cu",
        [
            (
                "p / s.OW * s.SH - s.PH, p % s.OW * s.SW - s.PW}",
                "p / s.OW * s.SH + s.PH, p % s.OW * s.SW + s.PW}",
            )
        ],
        "windows start beyond the image's corner, not before it",
        f"{OPS}/test_conv2d.py::test_many_channels{HERE}",
    ),
    Fault(
        "cuda-taps-by-the-height",
        f"{KERNELS}/convolution.cu",
        [("uv / s.KW, uv % s.KW};", "uv / s.KH, uv % s.KH};")],
        "a tap's row and column are counted by KH, not KW: right for square windows",
        f"{OPS}/test_conv2d.py::test_conv2d{HERE}",
    ),
    Fault(
        "cuda-first-tap-beyond-the-stride",
        f"{KERNELS}/convolution.cu",
        [("u0 = (h0 + s.PH) % s.SH,", "u0 = h0 + s.PH,")],
        "a phase's first tap is not taken modulo the stride: with padding the first ones are lost",
        f"{OPS}/test_conv2d.py::test_many_channels{HERE}",
    ),
    Fault(
        "cuda-paint-goes-down",
        f"{KERNELS}/convolution.cu",
        [("c * s.H * s.W, -a, -e};", "c * s.H * s.W, a, e};")],
        "a tap further down is an image row further down, as in a convolution",
        f"{OPS}/test_conv2d.py::test_many_channels{HERE}",
    ),
    Fault(
        "cuda-right-edge-not-masked",
        f"{KERNELS}/convolution.cu",
        [(" && 0 <= w && w < W;", " && 0 <= w;")],
        "beyond the right edge lies the next row's first pixel",
        f"{OPS}/test_conv2d.py::test_many_channels{HERE}",
    ),
    Fault(
        "cuda-last-step-not-masked",
        f"{KERNELS}/convolution.cu",
        [
            ("r < rows && start + k < last ?", "r < rows ?"),
            ("next_right[i] = start + d < last && inside ?", "next_right[i] = inside ?"),
        ],
        "the last sixteen terms are all added up, those beyond the sum's end, too",
        f"{OPS}/test_conv2d.py::test_many_channels{HERE}",
    ),
    Fault(
        "cuda-step-lost-at-its-end",
        f"{KERNELS}/convolution.cu",
        [("if (start + DEPTH < last) fetch", "if (start + 2 * DEPTH <= last) fetch")],
        "a last step that is not full multiplies the terms of the step before",
        f"{OPS}/test_conv2d.py::test_many_channels{HERE}",
    ),
    Fault(
        "cuda-parts-overlap",
        f"{KERNELS}/convolution.cu",
        [("last = K - first < part_size ? K : first + part_size;", "last = K;")],
        "each part of a long sum goes on to the sum's end: right for a single part",
        f"{OPS}/test_conv2d.py::test_large_images{HERE}",
    ),
    Fault(
        "cuda-part-of-a-long-sum-lost",
        f"{KERNELS}/convolution.cu",
        [("for (int part = 0; part < part_count", "for (int part = 1; part < part_count")],
        "the first part of a long sum is left out",
        f"{OPS}/test_conv2d.py::test_large_images{HERE}",
    ),
    Fault(
        "cuda-leaky-relu-as-a-maximum",
        f"{KERNELS}/leaky_relu.cu",
        [("return x > 0 ? x : slope * x;", "return x > slope * x ? x : slope * x;")],
        "max(x, slope x): right for slopes up to 1",
        f"{OPS}/test_activations.py::test_leaky_relu_slope{HERE}",
    ),
    # batch_norm.cu
    Fault(
        "cuda-running-variance-biased",
        f"{KERNELS}/batch_norm.cu",
        [("momentum * T(M2 / (n - 1))", "momentum * T(M2 / n)")],
        "the running variance is that of the batch, not of what it was drawn from",
        f"{OPS}/test_batch_norm.py::test_running_statistics{HERE}",
    ),
    Fault(
        "cuda-batch-variance-unbiased",
        f"{KERNELS}/batch_norm.cu",
        [("    var = M2 / n;", "    var = M2 / (n - 1);")],
        "the batch is normalised by the variance meant for the running statistics",
        f"{OPS}/test_batch_norm.py::test_normalises_each_channel{HERE}",
    ),
    Fault(
        "cuda-batch-norm-without-eps",
        f"{KERNELS}/batch_norm.cu",
        [("sqrt(var + double(eps))", "sqrt(var)")],
        "eps is left out of the square root",
        f"{OPS}/test_batch_norm.py::test_batch_norm{HERE}",
    ),
    Fault(
        "cuda-means-of-threads-differ",
        f"{KERNELS}/batch_norm.cu",
        [("M2 + n * (mean - common) * (mean - common)", "M2")],
        "sums of squares about different means are added as if the means were one",
        f"{OPS}/test_batch_norm.py::test_normalises_each_channel{HERE}",
    ),
    Fault(
        "cuda-means-of-parts-differ",
        f"{KERNELS}/batch_norm.cu",
        [("parts[3 * k + 2] + parts[3 * k] * off * off", "parts[3 * k + 2]")],
        "so are those of the parts of a channel: right for one that a single block reads",
        f"{OPS}/test_batch_norm.py::test_large_images[cuda_on_host-True]",
    ),
    Fault(
        "cuda-sums-from-zero",
        f"{KERNELS}/batch_norm.cu",
        [("    if (n == 0) shift = value;\n", "")],
        "the average of x^2 less the square of the mean: far from zero nothing is left of it",
        f"{OPS}/test_batch_norm.py::test_far_from_zero{HERE}",
    ),
    Fault(
        "cuda-momentum-the-other-way",
        f"{KERNELS}/batch_norm.cu",
        [
            (
                "(1 - momentum) * running_mean[c] + momentum * centre",
                "momentum * running_mean[c] + (1 - momentum) * centre",
            )
        ],
        "momentum weighs the old mean, as TensorFlow has it",
        f"{OPS}/test_batch_norm.py::test_running_statistics{HERE}",
    ),
    Fault(
        "cuda-dx-without-the-variance",
        f"{KERNELS}/batch_norm.cu",
        [("dh -= level + x_hat * slant;", "dh -= level;")],
        "dx knows that the mean depends on x, but not that the variance does",
        f"{OPS}/test_batch_norm.py::test_large_images[cuda_on_host-True]",
    ),
    Fault(
        "cuda-dx-past-the-activation",
        f"{KERNELS}/batch_norm.cu",
        [
            (
                "T dh = before_activation(dy[i], x_hat, w[c], b[c], slope);\n    if (training)",
                "T dh = dy[i];\n    if (training)",
            )
        ],
        "the sums go through the activation, dx does not",
        f"{OPS}/test_batch_norm_leaky_relu.py::test_is_the_one_after_the_other[cuda_on_host-True]",
    ),
    Fault(
        "cuda-evaluation-as-training",
        f"{KERNELS}/batch_norm.cu",
        [("if (training) dh -=", "dh -=")],
        "dx in evaluation is that of training, as if the statistics moved with x",
        f"{OPS}/test_batch_norm.py::test_evaluation_treats_the_statistics_as_constants{HERE}",
    ),
    # the losses
    Fault(
        "cuda-bce-the-other-way",
        f"{KERNELS}/bce.cu",
        [("= (l > 0 ? T(1) : e) / (1 + e) - t;", "= t - (l > 0 ? T(1) : e) / (1 + e);")],
        "target less probability: uphill",
        f"{OPS}/test_losses.py::test_bce{HERE}",
    ),
    Fault(
        "cuda-softplus-overflows",
        f"{KERNELS}/bce.cu",
        [("(l > 0 ? l : T(0)) - t * l + log1p(e)", "log1p(exp(l)) - t * l")],
        "log(1 + exp(l)) as it is written",
        f"{OPS}/test_losses.py::test_bce_of_extreme_logits[cuda_on_host-float32]",
    ),
    Fault(
        "cuda-kl-loses-its-digits",
        f"{KERNELS}/kl.cu",
        [("(expm1(v) - v)", "(exp(v) - 1 - v)")],
        "exp(logvar) - 1 as it is written: near logvar = 0 only rounding is left",
        f"{OPS}/test_losses.py::test_kl_near_zero_keeps_its_digits{HERE}",
    ),
    Fault(
        "cuda-dlogvar-loses-its-digits",
        f"{KERNELS}/kl.cu",
        [("d * expm1(logvar[i]) / 2", "d * (exp(logvar[i]) - 1) / 2")],
        "the same in backward",
        f"{OPS}/test_losses.py::test_kl_near_zero_keeps_its_digits{HERE}",
    ),
    Fault(
        "cuda-mse-always-a-mean",
        f"{KERNELS}/mse.cu",
        [("T(sum / divisor)", "T(sum / P)")],
        "forward divides by the number of pixels where a sum is asked for",
        f"{OPS}/test_losses.py::test_mse{HERE}",
    ),
    Fault(
        "cuda-beta-lost-backward",
        f"{KERNELS}/elbo.cu",
        [("T(*beta) * (dtotal / N)", "dtotal / N")],
        "backward forgets the weight of the KL term",
        f"{OPS}/test_losses.py::test_elbo{HERE}",
    ),
    Fault(
        "cuda-beta-frozen",
        f"{KERNELS}/elbo.cu",
        [("T(*beta) * (dtotal", "0 * (dtotal")],
        "a graph's backward does not read the weight of the KL term: it is 0",
        "tests/test_graph.py::test_the_steps_are_those_of_train_step[on_host-SGD]",
    ),
    # sums, linear, pooling
    Fault(
        "cuda-parts-of-another-channel",
        f"{KERNELS}/channels.cu",
        [("parts[c * count + part]", "parts[part * C + c]")],
        "the parts of a channel's sum lie one after another, and are read as columns",
        f"{OPS}/test_conv_transpose2d.py::test_large_images{HERE}",
    ),
    Fault(
        "cuda-half-of-the-warps",
        f"{KERNELS}/channels.cu",
        [("other < 32", "other < 16")],
        "the sums of half the warps are left out: right for up to sixteen rows",
        f"{OPS}/test_linear.py::test_a_long_batch{HERE}",
    ),
    Fault(
        "cuda-bias-of-the-row",
        f"{KERNELS}/linear.cu",
        [("b[i % O]", "b[i / O]")],
        "the bias is chosen by the image, not by the output",
        f"{OPS}/test_linear.py::test_linear{HERE}",
    ),
    Fault(
        "cuda-ties-go-to-the-last",
        f"{KERNELS}/max_pool2d.cu",
        [("value > largest ||", "value >= largest ||")],
        "of equal pixels the last one gets the gradient",
        f"{OPS}/test_max_pool2d.py::test_a_tie_goes_to_the_first_and_to_it_alone{HERE}",
    ),
    # training steps
    Fault(
        "cuda-adam-without-its-correction",
        f"{KERNELS}/optim.cu",
        [("moving[0] = *lr / (1 - pow(beta1, double(*step)));", "moving[0] = *lr;")],
        "a graph's Adam does not correct m for its start at zero",
        "tests/test_graph.py::test_the_steps_are_those_of_train_step[on_host-Adam]",
    ),
    Fault(
        "cuda-learning-rate-frozen",
        f"{KERNELS}/optim.cu",
        [("T(*lr) * (nesterov", "0 * (nesterov")],
        "a graph's SGD does not read the learning rate",
        "tests/test_graph.py::test_the_steps_are_those_of_train_step[on_host-SGD]",
    ),
    Fault(
        "cuda-adamw-decays-without-lr",
        f"{KERNELS}/optim.cu",
        [("1 - *lr * shrinking;", "1 - shrinking;")],
        "a graph's AdamW does not multiply the decay by the learning rate",
        "tests/test_graph.py::test_the_steps_are_those_of_train_step[on_host-AdamW]",
    ),
    Fault(
        "cuda-clip-by-the-square",
        f"{KERNELS}/optim.cu",
        [("norm > max_norm &&", "norm * norm > max_norm &&")],
        "what is compared with the norm allowed is the norm's square",
        f"tests/test_optim.py::test_clip_grad_norm{HERE}",
    ),
    Fault(
        "cuda-nine-rounds",
        f"{KERNELS}/philox.cu",
        [("round < 10", "round < 9")],
        "Philox with nine rounds: as good to look at",
        f"tests/test_philox.py::test_words_are_the_same_on_every_engine{HERE}",
    ),
    Fault(
        "cuda-steps-repeat",
        f"{KERNELS}/philox.cu",
        [("c3 = unsigned(*step >> 32)", "c3 = 0")],
        "a graph's noise repeats after 2^32 steps",
        f"tests/test_philox.py::test_a_step_on_the_device_counts_as_one_of_the_host{HERE}",
    ),
    Fault(
        "cuda-sine-is-cosine",
        f"{KERNELS}/philox.cu",
        [("T(radius * sine)", "T(radius * cosine)")],
        "of two normal numbers the second is the first once more",
        "tests/test_philox.py::test_normal_numbers_are_the_same_on_every_engine"
        "[cuda_on_host-shape1-float32]",
    ),
    Fault(
        "cuda-the-last-bad-step",
        f"{KERNELS}/graph.cu",
        [("*bad_step == 0 && !isfinite", "!isfinite")],
        "the step remembered is the last whose loss was not finite, not the first",
        f"tests/test_graph.py::test_record{HERE}",
    ),
    Fault(
        "cuda-batch-norm-averages-times-zero",
        f"{KERNELS}/batch_norm.cu",
        [
            (
                "if (training) dh -= level + x_hat * slant;",
                "dh -= training * (level + x_hat * slant);",
            )
        ],
        "in evaluation an infinity in x makes its dx NaN: the averages are there, times 0",
        "tests/ops/test_not_finite.py::"
        "test_batch_norm_in_evaluation_moves_no_gradient_by_it[cuda_on_host-batch_norm-inf]",
        "batch_norm",
    ),
    Fault(
        "cuda-norm-overflows",
        f"{KERNELS}/optim.cu",
        [("if (g > 0x1p500)", "if (false)")],
        "the squares of large gradients are infinite, and so is their norm",
        "tests/test_optim.py::test_the_norm_does_not_overflow[cuda_on_host-float64-3e+200]",
    ),
    Fault(
        "cuda-norm-of-the-largest-alone",
        f"{KERNELS}/optim.cu",
        [("large + medium * 0x1p-600 * 0x1p-600", "large")],
        "beside one large gradient, any number of smaller ones count for nothing",
        "tests/test_optim.py::test_the_norm_of_numbers_on_both_sides_of_a_limit[cuda_on_host-large]",
    ),
]
