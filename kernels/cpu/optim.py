"""Optimizer steps in one pass over memory; the reference needs more than a dozen."""

import math

from . import jit
from .runtime.threads import share


def adam_step(value, grad, m, v, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    if value.ndim > 1:  # rows of any layout; a model has one flat array
        for rows in zip(value, grad, m, v, strict=True):
            adam_step(*rows, step, lr, beta1, beta2, eps, weight_decay, decoupled)
        return
    number = value.dtype.type  # float32 scalars for float32 arrays: Python floats are float64
    shrink, decay = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    # m_hat / (sqrt(v_hat) + eps), with the bias corrections moved out of the loop
    step_size = lr / (1 - beta1**step)
    root = 1 / math.sqrt(1 - beta2**step)
    scalars = (beta1, 1 - beta1, beta2, 1 - beta2, step_size, root, eps, shrink, decay)
    scalars = [number(scalar) for scalar in scalars]

    def work(part):
        _adam(value[part], grad[part], m[part], v[part], *scalars)

    share(work, value.size, 0.5 * value.size)


@jit
def _adam(value, grad, m, v, beta1, rest1, beta2, rest2, step_size, root, eps, shrink, decay):
    for i in range(value.size):
        old = value[i] * shrink
        g = grad[i] + decay * value[i]
        m[i] = beta1 * m[i] + rest1 * g
        v[i] = beta2 * v[i] + rest2 * g * g
        value[i] = old - step_size * m[i] / (math.sqrt(v[i]) * root + eps)
