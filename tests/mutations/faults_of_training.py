"""Mistakes in the optimizers, the training step, the evaluation and the data."""

from planting import Fault

ADAM = "tests/test_optim.py::test_adam_by_its_algorithm"

FAULTS = [
    Fault(
        "adam-without-bias-correction",
        "scratchvae.optim",
        [("m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)", "m_hat, v_hat = m, v")],
        "m and v start at zero and are taken as they are: the first steps are wrong",
        "tests/test_optim.py::test_adams_first_step_is_lr_times_the_sign[numpy]",
    ),
    Fault(
        "adam-eps-inside-the-root",
        "scratchvae.optim",
        [("(xp.sqrt(v_hat) + eps)", "xp.sqrt(v_hat + eps)")],
        "sqrt(v + eps) for sqrt(v) + eps: eps counts as its root, 1e-4",
        f"{ADAM}[numpy-0.0-Adam]",
    ),
    Fault(
        "adam-never-counts-its-steps",
        "scratchvae.optim",
        [("self.steps += 1", "self.steps = 1")],
        "every step is corrected as if it were the first",
        f"{ADAM}[numpy-0.0-Adam]",
    ),
    Fault(
        "adamw-coupled",
        "scratchvae.optim",
        [("value *= 1 - lr * weight_decay\n        g = grad", "g = grad + weight_decay * value")],
        "AdamW adds its decay to the gradient: that is Adam",
        f"{ADAM}[numpy-0.1-AdamW]",
    ),
    Fault(
        "adamw-decay-without-lr",
        "scratchvae.optim",
        [("value *= 1 - lr * weight_decay", "value *= 1 - weight_decay")],
        "the decay is not multiplied by the learning rate",
        f"{ADAM}[numpy-0.1-AdamW]",
    ),
    Fault(
        "nesterov-without-its-gradient",
        "scratchvae.optim",
        [("g + momentum * velocity if nesterov", "velocity + momentum * velocity if nesterov")],
        "Nesterov's step looks ahead from the velocity, not from the gradient",
        "tests/test_optim.py::test_momentum_by_hand[numpy-True]",
    ),
    Fault(
        "clip-scales-up",
        "scratchvae.optim",
        [("if max_norm < norm < math.inf:", "if 0 < norm < math.inf:")],
        "small gradients are blown up to the norm that large ones are cut to",
        "tests/test_optim.py::test_clip_grad_norm",
    ),
    Fault(
        "norm-overflows",
        "scratchvae.optim",
        [("if not 1e-12 < norm < math.inf and", "if False and")],
        "the squares of large gradients are infinite, and so is their norm",
        "tests/test_optim.py::test_the_norm_does_not_overflow[numpy-float32-3e+20]",
    ),
    Fault(
        "last-batch-found-out-last",
        "scratchvae.train",
        [('    check_last_batch("train_epoch", model, len(images), batch_size)\n', "")],
        "an epoch ends in an error at its last step, where a batch norm gets one value",
        "tests/test_train.py::test_a_last_batch_that_cannot_be_trained_on_is_refused_before_the_first_step",
    ),
    Fault(
        "gradients-never-cleared",
        "scratchvae.train",
        [("optimizer.zero_grad()\n    losses", "losses")],
        "a training step adds its gradient to those of all steps before",
        "tests/test_train.py::test_train_step_is_backward_and_a_step[numpy]",
    ),
    Fault(
        "evaluation-in-training-mode",
        "scratchvae.train",
        [("with model.evaluating():", "if True:")],
        "the test images are normalised by their batch, and move the running statistics",
        "tests/test_train.py::test_evaluation_uses_running_statistics_and_moves_none",
    ),
    Fault(
        "one-stream-for-all",
        "scratchvae.train",
        [("np.random.default_rng(child)", "np.random.default_rng(seed)")],
        "order and noise are drawn from the same numbers",
        "tests/test_train.py::test_random_streams_are_independent_and_repeatable",
    ),
    Fault(
        "white-is-not-one",
        "scratchvae.data.batches",
        [("/ dtype.type(255)", "/ dtype.type(256)")],
        "bytes are divided by 256: white is 0.996",
        "tests/data/test_batches.py::test_in_order_with_the_last_batch_smaller[numpy-float32]",
    ),
]
