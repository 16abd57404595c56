"""Optimizer steps and clipping, over flat arrays in place.

In a graph `step` and `lr` are arrays of one number on the device, int64 and float64: a replay would
repeat plain numbers as they were at the capture.
"""

from . import blocks_for, empty, launch

PARTS = 264  # of the sum of squares: two for each multiprocessor of an H100


def sgd_step(value, grad, velocity, lr, momentum, weight_decay, nesterov):
    moving, lr = (lr, 0.0) if hasattr(lr, "dtype") else (None, float(lr))
    scalars = moving, lr, float(momentum), float(weight_decay), int(nesterov), value.size
    launch("optim", "sgd_step", blocks_for(value.size), value, grad, velocity, *scalars)


def adam_step(value, grad, m, v, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    shrinking, decay = (weight_decay, 0.0) if decoupled else (0.0, weight_decay)
    moving, fixed = None, (0.0, 0.0, 0.0)
    if hasattr(step, "dtype"):
        moving = empty((3,), "float64")
        arguments = moving, step, lr, float(beta1), float(beta2), float(shrinking)
        launch("optim", "adam_moving", 1, *arguments, threads=32)
    else:
        fixed = lr / (1 - beta1**step), (1 - beta2**step) ** -0.5, 1 - lr * shrinking
    scalars = *fixed, beta1, 1 - beta1, beta2, 1 - beta2, eps, decay
    arguments = value, grad, m, v, moving, *map(float, scalars), value.size
    launch("optim", "adam_step", blocks_for(value.size), *arguments)


def clip_to_norm(grad, max_norm):
    parts, norm = empty((PARTS, 3), "float64"), empty((), "float64")
    launch("optim", "square_parts", PARTS, grad, parts, grad.size)
    arguments = grad, parts, norm, float(max_norm), PARTS, grad.size
    launch("optim", "clip", blocks_for(grad.size), *arguments)
    return norm
