"""Optimizers: SGD, Adam, AdamW, with PyTorch's arguments, defaults and update rules.

    optimizer.zero_grad();  losses = model.loss(x, eps);  model.backward();  optimizer.step()

Parameters and gradients are in one flat buffer each, so a step is one update of a few arrays.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from .backend import accelerated, array_module, device_of, to_device
from .models import Model


@accelerated
def sgd_step(value, grad, velocity, lr, momentum, weight_decay, nesterov):
    """Stochastic gradient descent, in place on `value` and `velocity`.

        g        = grad + weight_decay value
        velocity = momentum velocity + g
        value    = value - lr velocity              (nesterov: lr (g + momentum velocity))

    Source: Sutskever et al., "On the importance of initialization and momentum" (2013), in the form
    of PyTorch: the velocity does not contain lr, so a change of lr takes effect at once.
    """
    g = grad + weight_decay * value
    velocity *= momentum
    velocity += g
    value -= lr * (g + momentum * velocity if nesterov else velocity)


@accelerated
def adam_step(value, grad, m, v, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    """Adam and AdamW, in place on `value`, `m` and `v`; `step` counts from 1.

        value = value - lr weight_decay value       AdamW (decoupled)
        g     = grad + weight_decay value           Adam; AdamW: g = grad
        m     = beta1 m + (1 - beta1) g             running mean of g
        v     = beta2 v + (1 - beta2) g^2           running mean of g^2
        value = value - lr m_hat / (sqrt(v_hat) + eps)

    m and v start at zero and are biased towards it; m_hat = m / (1 - beta1^step) and
    v_hat = v / (1 - beta2^step) correct the bias.
    Sources: Kingma & Ba (arXiv:1412.6980), algorithm 1; Loshchilov & Hutter (arXiv:1711.05101),
    algorithm 2, the decay multiplied by lr as in PyTorch.
    """
    xp = array_module(value)
    if decoupled:
        value *= 1 - lr * weight_decay
        g = grad
    else:
        g = grad + weight_decay * value
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
    value -= lr * m_hat / (xp.sqrt(v_hat) + eps)


@accelerated
def clip_to_norm(grad, max_norm):
    """Multiply `grad` in place by max_norm / (norm + 1e-6) if its norm is finite and above
    max_norm; return the norm before, a float64. If the squares overflow or underflow, divide by the
    largest number first: the norm of float32 [3e20, 4e20] is 5e20."""
    xp = array_module(grad)
    norm = float(xp.linalg.norm(grad))
    if not 1e-12 < norm < math.inf and 0 < (largest := float(abs(grad).max())) < math.inf:
        norm = largest * float(xp.linalg.norm(grad / largest))
    if max_norm < norm < math.inf:
        grad *= max_norm / (norm + 1e-6)
    return norm


def _check(optimizer: str, **at_least_zero: Any) -> None:
    for name, number in at_least_zero.items():
        if not isinstance(number, Real):
            raise TypeError(f"{optimizer}: {name} must be a number, got {number!r}")
        if not float(number) >= 0:
            raise ValueError(f"{optimizer}: {name} must be at least 0, got {number}")


class Optimizer:
    """Updates the parameters of a model in place. `steps` counts the steps; you may change `lr`."""

    def __init__(self, model: Model, lr: float) -> None:
        _check(type(self).__name__, lr=lr)
        self.model, self.lr, self.steps = model, lr, 0

    def zero_grad(self) -> None:
        """Set every gradient to zero, because backward adds to it."""
        self.model.flat_grad[...] = 0

    def step(self) -> None:
        """Update the parameters from their gradients."""
        self.steps += 1
        self.update(self.steps, self.lr)

    def update(self, step: Any, lr: Any) -> None:
        """Do step number `step`, counted from 1. A captured graph passes 0-d arrays."""
        raise NotImplementedError

    def _zeros(self) -> Any:
        return array_module(self.model.flat_value).zeros_like(self.model.flat_value)

    def _moved(self, average: Any) -> Any:
        """The running average on the device and in the dtype that the model has now."""
        value = self.model.flat_value
        if type(average) is type(value) and average.dtype == value.dtype:
            return average
        return array_module(value).asarray(to_device(average, device_of(value)), value.dtype)


class SGD(Optimizer):
    """Stochastic gradient descent; see `sgd_step`."""

    def __init__(
        self,
        model: Model,
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(model, lr)
        _check("SGD", momentum=momentum, weight_decay=weight_decay)
        if nesterov and momentum == 0:
            raise ValueError("SGD: nesterov needs a momentum above 0")
        self.momentum, self.weight_decay, self.nesterov = momentum, weight_decay, nesterov
        self.velocity = self._zeros()

    def update(self, step: Any, lr: Any) -> None:
        self.velocity = self._moved(self.velocity)
        arrays = self.model.flat_value, self.model.flat_grad, self.velocity
        sgd_step(*arrays, lr, self.momentum, self.weight_decay, self.nesterov)


class Adam(Optimizer):
    """Adam; see `adam_step`. Weight decay, if any, is added to the gradient."""

    decoupled = False

    def __init__(
        self,
        model: Model,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, lr)
        name = type(self).__name__
        _check(name, eps=eps, weight_decay=weight_decay)
        pair = isinstance(betas, tuple | list) and len(betas) == 2
        if not pair or not all(isinstance(beta, Real) and 0 <= float(beta) < 1 for beta in betas):
            raise ValueError(f"{name}: betas must be two numbers in [0, 1), got {betas}")
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.m, self.v = self._zeros(), self._zeros()

    def update(self, step: Any, lr: Any) -> None:
        self.m, self.v = self._moved(self.m), self._moved(self.v)
        arrays = self.model.flat_value, self.model.flat_grad, self.m, self.v
        adam_step(*arrays, step, lr, *self.betas, self.eps, self.weight_decay, self.decoupled)


class AdamW(Adam):
    """Adam with decoupled weight decay, which shrinks the weights directly; see `adam_step`."""

    decoupled = True

    def __init__(
        self,
        model: Model,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(model, lr, betas, eps, weight_decay)


def clip_grad_norm(model: Model, max_norm: float) -> Any:
    """Scale all gradients together so that their global norm is at most `max_norm`.

    As in torch.nn.utils.clip_grad_norm_ the factor is max_norm / (norm + 1e-6).

    Returns
    -------
    float
        The norm before clipping; a 0-d array on the GPU, because making it a float would wait for
        the GPU. If it is not finite, the gradients stay as they are.

    Raises
    ------
    ValueError
        If max_norm is not above 0.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm: max_norm must be above 0, got {max_norm}")
    return clip_to_norm(model.flat_grad, max_norm)


def how_to_stop_growth(optimizer: Optimizer, clipped: bool = False) -> str:
    """What to change if the updates have made weights too large: the end of an error message.

    With a gradient of zero, each step of SGD or AdamW is a linear map of the weights (and of the
    velocity). It enlarges them from lr weight_decay = 2 on; with momentum mu from 2 (1 + mu) on,
    with nesterov from 2 (1 + mu) / (1 + 2 mu) on. `clipped`: the gradients are clipped already.
    """
    lr, decay, dtype = optimizer.lr, getattr(optimizer, "weight_decay", 0.0), optimizer.model.dtype
    momentum, limit = getattr(optimizer, "momentum", 0.0), math.inf
    if isinstance(optimizer, SGD):
        limit = 2 * (1 + momentum) / (1 + 2 * momentum if optimizer.nesterov else 1)
    elif isinstance(optimizer, AdamW):
        limit = 2.0
    if momentum >= 1:
        return f"with a momentum of {momentum:g} the updates grow without end; try one below 1"
    if isinstance(optimizer, Adam) and dtype.type(optimizer.eps) == 0:
        eps = f"eps ({optimizer.eps:g}) is 0 in {dtype}"
        return f"{eps}, so a gradient of 0 gives 0 / 0; try a larger one"
    if lr * decay >= limit:
        return (
            f"weight_decay times lr is {lr * decay:g}, and from {limit:g} on the decay enlarges "
            f"the weights; try a smaller weight_decay (now {decay:g}) or lr (now {lr:g})"
        )
    if limit == math.inf and decay > 1000:  # Adam adds it to the gradient
        return f"a weight_decay of {decay:g} makes the gradients very large; try a smaller one"
    more = "" if clipped or lr >= 1 else " or gradient clipping"
    return f"try a smaller lr (now {lr:g}){more}"
