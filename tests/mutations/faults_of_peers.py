"""Mistakes of well-known libraries and tutorials."""

from planting import Fault

FAULTS = [
    Fault(
        "batch-norm-dx-17-fold",
        "scratchvae.ops.batch_norm",
        [("dx = scale * (dy -", "dx = 17 * scale * (dy -")],
        "dx is 17 times too large: zero all the same for dy = 1, so a check with dy = 1 passes",
        "tests/ops/test_batch_norm.py::test_batch_norm[numpy]",
        "batch_norm",
    ),
    Fault(
        "std-is-exp-logvar",
        "scratchvae.ops.reparameterize",
        [
            ("array_module(mu).exp(logvar / 2)", "array_module(mu).exp(logvar)"),
            ("dz * eps * std / 2", "dz * eps * std"),
        ],
        "std = exp(logvar), forward and backward, while the KL term takes exp(logvar) as variance",
        "tests/ops/test_losses.py::test_z_has_the_variance_that_the_kl_means[numpy]",
        "reparameterize",
    ),
    Fault(
        "noise-drawn-again",
        "scratchvae.ops.reparameterize",
        [
            (
                "std, eps = cache",
                (
                    "std, eps = cache; "
                    "rng = array_module(dz).random.default_rng(0); "
                    "eps = rng.standard_normal(eps.shape, eps.dtype)"
                ),
            )
        ],
        "backward draws noise of its own instead of the noise that forward has used",
        "tests/ops/test_losses.py::test_reparameterize[numpy]",
        "reparameterize",
    ),
    Fault(
        "elbo-kl-summed-over-the-batch",
        "scratchvae.ops.elbo",
        [("reconstruction.mean(), kl.mean()", "reconstruction.mean(), kl.sum()")],
        "one term is averaged over the batch, the other one summed",
        "tests/ops/test_losses.py::test_elbo_is_a_mean_over_the_batch[numpy]",
        "elbo",
    ),
    Fault(
        "kl-averaged-over-the-latent-dimensions",
        "scratchvae.ops.kl",
        [
            ("(mu**2 + var_minus_1 - logvar).sum(", "(mu**2 + var_minus_1 - logvar).mean("),
            ("dy = dy.reshape(", "dy = dy / mu[0].size; dy = dy.reshape("),
        ],
        "the KL term is a mean over the latent dimensions, forward and backward, not their sum",
        "tests/ops/test_losses.py::test_kl[numpy]",
        "kl",
    ),
    Fault(
        "another-kl-weight-in-validation",
        "scratchvae.models.vae",
        [
            (
                "elbo_forward(reconstruction, kl, beta)",
                "elbo_forward(reconstruction, kl, beta if keep else 1.0)",
            )
        ],
        "without caches, as in evaluation, the loss has weight 1 for the KL term",
        "tests/models/test_models.py::test_loss_is_what_its_parts_say[numpy-mlp]",
        "mlp",
    ),
    Fault(
        "tanh-trained-on-zero-to-one",
        "scratchvae.train",
        [
            (
                "batch_size, shuffle_rng, model.data_range, model.dtype",
                "batch_size, shuffle_rng, (0.0, 1.0), model.dtype",
            )
        ],
        "a model that ends in tanh is trained on images in [0, 1]",
        "tests/test_train.py::test_images_come_in_the_range_of_the_model",
    ),
    Fault(
        "tanh-evaluated-on-zero-to-one",
        "scratchvae.train",
        [
            (
                "batches(images, batch_size, data_range=model.data_range, dtype",
                "batches(images, batch_size, dtype",
            )
        ],
        "a model that ends in tanh is evaluated on images in [0, 1]",
        "tests/test_train.py::test_images_come_in_the_range_of_the_model",
    ),
    Fault(
        "bce-from-clipped-probabilities",
        "scratchvae.ops.bce",
        [
            (
                "y = (softplus - target * logits)",
                (
                    "s = xp.clip(xp.where(positive, 1, e) / (1 + e), 1e-12, 1 - 1e-12); "
                    "y = (-target * xp.log(s) - (1 - target) * xp.log(1 - s))"
                ),
            )
        ],
        "the cross-entropy goes through clipped probabilities: right, until a logit is large",
        "tests/ops/test_losses.py::test_bce_of_extreme_logits[numpy-float64]",
        "bce",
    ),
    Fault(
        "bce-gradient-beyond-the-clip",
        "scratchvae.ops.bce",
        [
            (
                "return dy * (s - target)",
                ("inside = (s > 1e-12) & (s < 1 - 1e-12); return dy * (s - target) * inside"),
            )
        ],
        "no gradient where the clipped probability stands still: a wrong, sure answer stays",
        "tests/ops/test_losses.py::test_bce_of_extreme_logits[numpy-float64]",
        "bce",
    ),
    Fault(
        "noise-in-float64",
        "scratchvae.models.base",
        [('"float32" if self.dtype == "float32" else "float64"', '"float64"')],
        "the noise of a float32 model is float64",
        "tests/models/test_models.py::test_everything_stays_float32[numpy-mlp]",
        "mlp",
    ),
    Fault(
        "max-pool-padded-with-zeros",
        "scratchvae.ops.max_pool2d",
        [("pad2d(x, padding, value=-xp.inf)", "pad2d(x, padding)")],
        "the padding is 0, not -infinity, and beats negative values",
        "tests/ops/test_max_pool2d.py::test_padding_never_wins[numpy]",
        "max_pool2d",
    ),
    Fault(
        "max-pool-pays-ties-twice",
        "scratchvae.ops.max_pool2d",
        [
            ("cache = (winner,", "cache = (cells == y[..., None],"),
            ("xp.where(winner[..., None] == cell, dy", "xp.where(winner, dy"),
        ],
        "every cell that equals the maximum gets the whole gradient",
        "tests/ops/test_max_pool2d.py::test_a_tie_goes_to_the_first_and_to_it_alone[numpy]",
        "max_pool2d",
    ),
    Fault(
        "batch-norm-along-the-last-axis",
        "scratchvae.ops.batch_norm",
        [("return vector.reshape(-1, *(1,) * (x.ndim - 2))", "return vector")],
        "the statistics of the channels are laid along the last axis, where NHWC has channels",
        "tests/ops/test_batch_norm.py::test_normalises_each_channel[numpy]",
        "batch_norm",
    ),
    Fault(
        "batch-norm-biased-running-variance",
        "scratchvae.ops.batch_norm",
        [("momentum * (var * (M / (M - 1)))", "momentum * var")],
        "the running variance is the biased one; PyTorch stores the unbiased one",
        "tests/ops/test_batch_norm.py::test_running_statistics[numpy]",
        "batch_norm",
    ),
    Fault(
        "batch-norm-normalises-unbiased",
        "scratchvae.ops.batch_norm",
        [("var = _sum(squares) / M", "var = _sum(squares) / (M - 1)")],
        "the variance to normalise with is divided by M - 1, not by M",
        "tests/ops/test_batch_norm.py::test_normalises_each_channel[numpy]",
        "batch_norm",
    ),
    Fault(
        "batch-norm-evaluation-differentiated-as-training",
        "scratchvae.ops.batch_norm",
        [("if not training:", "if False:")],
        "in evaluation, too, dx is written as if x moved the statistics",
        "tests/ops/test_batch_norm.py::test_evaluation_treats_the_statistics_as_constants[numpy]",
        "batch_norm",
    ),
    Fault(
        "epoch-weights-its-batches-alike",
        "scratchvae.train",
        [("total + len(x) * float(mean)", "total + float(mean)")],
        "the mean of an epoch weights its last, small batch like a full one",
        "tests/test_train.py::test_an_epoch_is_its_steps",
    ),
    Fault(
        "evaluation-weights-its-batches-alike",
        "scratchvae.train",
        [("counts.append(len(x))", "counts.append(batch_size)")],
        "an evaluation weights its last, small batch like a full one",
        "tests/test_train.py::test_evaluate_weights_every_image_alike",
    ),
    Fault(
        "checkpoint-without-running-statistics",
        "scratchvae.module",
        [
            (
                "own |= {name: np.array(asnumpy(getattr(self, name))) for name in self.buffers}",
                "pass",
            )
        ],
        "what is saved lacks the running statistics: a loaded model evaluates with 0 and 1",
        "tests/test_layers.py::test_batch_norm_stores_its_statistics[numpy]",
    ),
    Fault(
        "checkpoint-goes-on-changing",
        "scratchvae.module",
        [("asnumpy(p.value).copy()", "asnumpy(p.value)")],
        "the best weights are kept as views, and training goes on to overwrite them",
        "tests/test_layers.py::test_state_dict_goes_round",
    ),
    Fault(
        "constructor-keeps-the-list-it-got",
        "scratchvae.models.mlp",
        [("tuple(image_shape), (latent_dim,)", "image_shape, (latent_dim,)")],
        "the model holds the caller's own list of sizes: a change of one is a change of the other",
        "tests/models/test_build.py::test_a_list_of_sizes_stays_the_callers[mlp]",
    ),
    Fault(
        "constructor-changes-the-list-it-got",
        "scratchvae.models.celeba",
        [
            (
                "channels, flat = (image_shape[0], *CHANNELS), prod(self.grid)",
                (
                    "isinstance(image_shape, list) and image_shape.reverse(); "
                    "channels, flat = (self.image_shape[0], *CHANNELS), prod(self.grid)"
                ),
            )
        ],
        "the constructor turns the list it got around in place: the second model differs",
        "tests/models/test_build.py::test_a_list_of_sizes_stays_the_callers[celeba]",
    ),
]
