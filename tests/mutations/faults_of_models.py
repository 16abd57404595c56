"""Mistakes in layers and models: lost branches, caches, modes."""

from planting import Fault

SMALL = "tests/models/test_models.py::test_gradients_with_a_kl_weight_and_other_shapes"

FAULTS = [
    Fault(
        "gradient-overwritten",
        "scratchvae.layers",
        [("grad += dw", "grad[...] = dw")],
        "backward sets the gradient, though a weight used twice has a sum of two",
        "tests/test_layers.py::test_backward_adds_to_the_gradients[numpy-Linear]",
        "mlp",
    ),
    Fault(
        "bias-gradient-forgotten",
        "scratchvae.layers",
        [("grad += db", "pass")],
        "no layer ever learns its bias",
        "tests/test_layers.py::test_backward_adds_to_the_gradients[numpy-Linear]",
        "mlp",
    ),
    Fault(
        "stale-cache",
        "scratchvae.layers",
        [('cache = vars(self).pop("_cache", None)', 'cache = vars(self).get("_cache")')],
        "a second backward takes the cache of a forward long gone, and says nothing",
        "tests/test_layers.py::test_a_cache_serves_one_backward[numpy-Linear]",
        "mlp",
    ),
    Fault(
        "evaluation-overwrites-the-cache",
        "scratchvae.layers",
        [("        if keep:\n            vars(self)", "        if True:\n            vars(self)")],
        "an evaluation between forward and backward exchanges what backward will see",
        "tests/test_layers.py::test_an_evaluation_may_come_between[numpy-Linear]",
        "mlp",
    ),
    Fault(
        "eval-does-not-reach-the-layers",
        "scratchvae.module",
        [
            (
                "for module in self.modules():\n            module.training = mode",
                "self.training = mode",
            )
        ],
        "model.eval() changes the model's own flag, and its batch norms go on as in training",
        "tests/test_layers.py::test_modules_in_lists_have_pytorchs_names",
        "celeba",
    ),
    Fault(
        "batch-norm-layer-always-trains",
        "scratchvae.layers",
        [
            ("            self.training, weight_of", "            True, weight_of"),
            ("        if self.training:\n", "        if True:\n"),
        ],
        "the layer normalises by its batch and moves its statistics in evaluation, too",
        "tests/test_layers.py::test_batch_norm_stores_its_statistics[numpy]",
        "celeba",
    ),
    Fault(
        "leaky-layer-forgets-its-slope",
        "scratchvae.layers",
        [("leaky_relu_forward(x, self.negative_slope)", "leaky_relu_forward(x)")],
        "the slope that the constructor was given is never used: 0.01 for everyone",
        "tests/test_layers.py::test_a_layer_is_its_op[numpy-LeakyReLU]",
        "skip",
    ),
    Fault(
        "deconv-fan-in-of-the-input",
        "scratchvae.layers",
        [("fan_in = O * KH * KW", "fan_in = C * KH * KW")],
        "initial weights of a transposed convolution are scaled by the wrong side's channels",
        "tests/test_layers.py::test_initial_values_are_pytorchs[<lambda>-0.25_1]",
    ),
    Fault(
        "mlp-dmu-of-the-kl-dropped",
        "scratchvae.models.mlp",
        [("self.fc_mu.backward(dmu_kl + dmu_z)", "self.fc_mu.backward(dmu_z)")],
        "mu reaches the loss on two paths, and one is forgotten: the KL term pulls no code to 0",
        f"{SMALL}[mlp-image_shape0]",
        "mlp",
    ),
    Fault(
        "mlp-dlogvar-of-z-dropped",
        "scratchvae.models.mlp",
        [
            (
                "self.fc_logvar.backward(dlogvar_kl + dlogvar_z)",
                "self.fc_logvar.backward(dlogvar_kl)",
            )
        ],
        "logvar learns from the KL term alone: nothing keeps the noise small",
        f"{SMALL}[mlp-image_shape0]",
        "mlp",
    ),
    Fault(
        "conv-branch-of-logvar-dropped",
        "scratchvae.models.conv",
        [(") + self.fc_logvar.backward(", "); self.fc_logvar.backward(")],
        "h feeds mu and logvar, but only the gradient that comes back from mu goes on",
        f"{SMALL}[conv-image_shape1]",
        "conv",
    ),
    Fault(
        "activation-skipped-backward",
        "scratchvae.models.tiny",
        [("dh = self.relu3.backward(dh)", "self.relu3.backward(dh)")],
        "backward misses one activation",
        "tests/models/test_models.py::test_every_gradient_by_complex_step[numpy-tiny]",
        "tiny",
    ),
    Fault(
        "tiny-loses-an-activation",
        "scratchvae.models.tiny",
        [
            ("h = self.relu4.forward(h, keep)", "h"),
            ("dh = self.relu4.backward(dh)", "dh"),
        ],
        "one activation is in neither pass: a right gradient of another model",
        "tests/golden/test_golden.py::test_model[numpy-tiny]",
        "tiny",
    ),
    Fault(
        "layer-hands-on-twice-dx",
        "scratchvae.layers",
        [("return relu_backward(dy, self._kept())", "return 2 * relu_backward(dy, self._kept())")],
        "a layer's backward gives twice the gradient that its op computes",
        "tests/test_layers.py::test_a_layer_is_its_op[numpy-ReLU]",
        "mlp",
    ),
    Fault(
        "skip-gradient-of-the-skip-dropped",
        "scratchvae.models.skip",
        [("dh = dh + dmaps[i]", "pass")],
        "a map of the encoder goes two ways, and only one gradient comes back",
        "tests/models/test_skip.py::test_gradients[all-scalar]",
        "skip",
    ),
    Fault(
        "skip-mean-over-the-grid",
        "scratchvae.models.skip",
        [("dmu_kl + dmu_z.sum((1, 2, 3))", "dmu_kl + dmu_z.mean((1, 2, 3))")],
        "one mu stands at every place of a grid; its gradient is averaged over them, not summed",
        "tests/models/test_skip.py::test_gradients_where_the_latent_grid_has_several_places[scalar]",
        "skip",
    ),
    Fault(
        "ae-gradient-not-averaged",
        "scratchvae.models.ae",
        [("xp.full_like(squared_error, 1 / N)", "xp.full_like(squared_error, 1.0)")],
        "the loss is a mean over the batch, its gradient that of the sum",
        "tests/models/test_models.py::test_every_gradient_by_complex_step[numpy-ae]",
        "ae",
    ),
    Fault(
        "generate-gives-logits",
        "scratchvae.models.vae",
        [("return sigmoid_forward(self.decode(z))[0]", "return self.decode(z)")],
        "pictures are logits: training is right, what is shown is not",
        "tests/models/test_models.py::test_shapes_and_range[numpy-mlp]",
        "mlp",
    ),
    Fault(
        "embed-in-training-mode",
        "scratchvae.models.vae",
        [
            (
                "with self.evaluating():\n            return self.encode(x)[0]",
                "if True:\n            return self.encode(x)[0]",
            )
        ],
        "the code of an image depends on its neighbours in the batch",
        "tests/models/test_models.py::test_pictures_are_made_in_evaluation_mode[celeba]",
        "celeba",
    ),
    Fault(
        "noise-not-looked-at",
        "scratchvae.models.vae",
        [('        check_batch(who, "eps", eps, [self.latent_shape], *where, N=len(x))\n', "")],
        "noise of another dtype reaches an op inside, whose message the caller does not know",
        "tests/models/test_models.py::test_the_model_says_what_it_was_given[numpy-mlp]",
    ),
    Fault(
        "batches-counted-from-zero",
        "scratchvae.layers",
        [("1 / (int(self.num_batches_tracked) + 1)", "1 / (int(self.num_batches_tracked) + 2)")],
        "without momentum, the initial running statistics count as a batch",
        "tests/test_layers.py::test_batch_norm_without_momentum_averages_over_all_batches[numpy-BatchNorm2d]",
    ),
]
