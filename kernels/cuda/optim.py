"""Optimizer steps and clipping, in place on flat arrays. Kernels read `step` and `lr` from GPU
memory, because a replayed graph would repeat the plain numbers of its capture."""

from . import BLOCKS, empty, launch, launch_each, on_device


def sgd_step(value, grad, velocity, lr, momentum, weight_decay, nesterov):
    scalars = on_device(lr, "float64"), float(momentum), float(weight_decay), int(nesterov)
    launch_each("sgd_step", value.size, value, grad, velocity, *scalars)


def adam_step(value, grad, m, v, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    shrinking, decay = (weight_decay, 0.0) if decoupled else (0.0, weight_decay)
    moving, step, lr = empty((3,), "float64"), on_device(step, "int64"), on_device(lr, "float64")
    launch("adam_moving", 1, moving, step, lr, *map(float, (beta1, beta2, shrinking)), threads=32)
    scalars = map(float, (beta1, 1 - beta1, beta2, 1 - beta2, eps, decay))
    launch_each("adam_step", value.size, value, grad, m, v, moving, *scalars)


def clip_to_norm(grad, max_norm):
    parts, norm = empty((BLOCKS, 3), "float64"), empty((), "float64")
    launch("square_parts", BLOCKS, grad, parts, grad.size)
    launch_each("clip", grad.size, grad, parts, norm, float(max_norm), BLOCKS)
    return norm
