"""Layers: an op, its parameters, and the cache between forward and backward. No mathematics here.

    y = layer.forward(x)          keeps what backward needs; forward(x, keep=False) keeps nothing
    dx = layer.backward(dy)       adds to each Param.grad and drops the cache: once per forward

Names and constructor arguments are torch.nn's, and so are the initial values: uniform within
+-1/sqrt(fan_in) for the weights and biases of Linear, Conv2d and ConvTranspose2d, drawn from `rng`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from .backend import asarray
from .module import Module, Param
from .ops.adaptive_avg_pool2d import adaptive_avg_pool2d_backward, adaptive_avg_pool2d_forward
from .ops.avg_pool2d import avg_pool2d_backward, avg_pool2d_forward
from .ops.batch_norm import batch_norm_backward, batch_norm_forward
from .ops.batch_norm_leaky_relu import batch_norm_leaky_relu_backward, batch_norm_leaky_relu_forward
from .ops.checks import pair, size
from .ops.conv2d import conv2d_backward, conv2d_forward
from .ops.conv_transpose2d import conv_transpose2d_backward, conv_transpose2d_forward
from .ops.leaky_relu import leaky_relu_backward, leaky_relu_forward
from .ops.linear import linear_backward, linear_forward
from .ops.max_pool2d import max_pool2d_backward, max_pool2d_forward
from .ops.mean_logvar import mean_logvar_backward, mean_logvar_forward
from .ops.relu import relu_backward, relu_forward
from .ops.reparameterize import reparameterize_backward, reparameterize_forward
from .ops.sigmoid import sigmoid_backward, sigmoid_forward
from .ops.tanh import tanh_backward, tanh_forward
from .ops.upsample_nearest import upsample_nearest_backward, upsample_nearest_forward


def uniform(rng: np.random.Generator, fan_in: int, shape: tuple[int, ...], dtype: Any) -> Param:
    """PyTorch's default: uniform within +-1/sqrt(fan_in); the same numbers for every dtype."""
    bound = fan_in**-0.5
    return Param(rng.uniform(-bound, bound, shape).astype(dtype))


class Layer(Module):
    """A module that keeps the cache of its forward for one backward."""

    def _keep(self, y_and_cache: tuple[Any, Any], keep: bool) -> Any:
        """Return y. With keep, store the cache for one backward; without, keep an older cache."""
        y, cache = y_and_cache
        if keep:
            vars(self)["_cache"] = cache
        return y

    def _kept(self) -> Any:
        """Return the cache of the last forward, and drop it."""
        cache = vars(self).pop("_cache", None)
        if cache is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward: no cache; call forward(x) with keep=True "
                "before every backward"
            )
        return cache

    def extra_repr(self) -> str:
        """The constructor's arguments, read from the attributes of the same names."""
        names = [name for name in inspect.signature(type(self)).parameters if hasattr(self, name)]
        shown = [f"{name}={getattr(self, name)!r}" for name in names if name != "bias"]
        return ", ".join(shown + ["bias=False"] * (getattr(self, "bias", 0) is None))


class Sequential(Module):
    """Layers one after the other. Their names are 0, 1, ... as in torch.nn."""

    def __init__(self, *layers: Any) -> None:
        self.layers = layers

    def children(self) -> Iterator[tuple[str, Module]]:
        yield from ((str(i), layer) for i, layer in enumerate(self.layers))

    def forward(self, x: Any, keep: bool = True) -> Any:
        for layer in self.layers:
            x = layer.forward(x, keep)
        return x

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        """dx. need_dx=False is passed to the first layer, which must have this argument."""
        first, *others = self.layers
        for layer in reversed(others):
            dy = layer.backward(dy)
        return first.backward(dy) if need_dx else first.backward(dy, need_dx=False)


class _WithWeights(Layer):
    """A layer with a weight and maybe a bias."""

    weight: Param
    bias: Param | None

    def _bias(self) -> Any:
        return None if self.bias is None else self.bias.value

    def _add(self, dw: Any, db: Any) -> None:
        """Add to the gradients of weight and bias."""
        grad = self.weight.grad
        grad += dw
        if self.bias is not None:
            grad = self.bias.grad
            grad += db


class Linear(_WithWeights):
    """y = x weight^T + bias. See ops/linear.py."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: np.random.Generator,
        dtype: Any = "float32",
    ) -> None:
        I, O = size("Linear: in_features", in_features), size("Linear: out_features", out_features)
        self.weight = uniform(rng, I, (O, I), dtype)
        self.bias = uniform(rng, I, (O,), dtype) if bias else None
        self.in_features, self.out_features = I, O

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(linear_forward(x, self.weight.value, self._bias()), keep)

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        dx, dw, db = linear_backward(dy, self._kept(), need_dx)
        self._add(dw, db)
        return dx


class Conv2d(_WithWeights):
    """Convolution, weight (O, C, KH, KW). See ops/conv2d.py."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        *,
        bias: bool = True,
        rng: np.random.Generator,
        dtype: Any = "float32",
    ) -> None:
        C, O = size("Conv2d: in_channels", in_channels), size("Conv2d: out_channels", out_channels)
        KH, KW = pair("Conv2d: kernel_size", kernel_size, 1)
        fan_in = C * KH * KW
        self.weight = uniform(rng, fan_in, (O, C, KH, KW), dtype)
        self.bias = uniform(rng, fan_in, (O,), dtype) if bias else None
        self.in_channels, self.out_channels, self.kernel_size = C, O, (KH, KW)
        self.stride = pair("Conv2d: stride", stride, 1)
        self.padding = pair("Conv2d: padding", padding, 0)

    def forward(self, x: Any, keep: bool = True) -> Any:
        y_and_cache = conv2d_forward(x, self.weight.value, self._bias(), self.stride, self.padding)
        return self._keep(y_and_cache, keep)

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        dx, dw, db = conv2d_backward(dy, self._kept(), need_dx)
        self._add(dw, db)
        return dx


class ConvTranspose2d(_WithWeights):
    """Transposed convolution, weight (C, O, KH, KW). See ops/conv_transpose2d.py. As in PyTorch,
    fan_in is O KH KW: that of the convolution O -> C which has the same weight (its transpose)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        *,
        bias: bool = True,
        rng: np.random.Generator,
        dtype: Any = "float32",
    ) -> None:
        C = size("ConvTranspose2d: in_channels", in_channels)
        O = size("ConvTranspose2d: out_channels", out_channels)
        KH, KW = pair("ConvTranspose2d: kernel_size", kernel_size, 1)
        fan_in = O * KH * KW  # PyTorch takes weight.shape[1], which here is the OUTPUT channels
        self.weight = uniform(rng, fan_in, (C, O, KH, KW), dtype)
        self.bias = uniform(rng, fan_in, (O,), dtype) if bias else None
        self.in_channels, self.out_channels, self.kernel_size = C, O, (KH, KW)
        self.stride = pair("ConvTranspose2d: stride", stride, 1)
        self.padding = pair("ConvTranspose2d: padding", padding, 0)
        self.output_padding = pair("ConvTranspose2d: output_padding", output_padding, 0)

    def forward(self, x: Any, keep: bool = True) -> Any:
        y_and_cache = conv_transpose2d_forward(
            x, self.weight.value, self._bias(), self.stride, self.padding, self.output_padding
        )
        return self._keep(y_and_cache, keep)

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        dx, dw, db = conv_transpose2d_backward(dy, self._kept(), need_dx)
        self._add(dw, db)
        return dx


class BatchNorm2d(_WithWeights):
    """Batch normalisation. See ops/batch_norm.py. momentum is the weight of a new batch in the
    running statistics; None gives all batches the same weight."""

    buffers = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        dtype: Any = "float32",
    ) -> None:
        size(f"{type(self).__name__}: num_features", num_features)
        self.weight = Param(np.ones(num_features, dtype))
        self.bias = Param(np.zeros(num_features, dtype))
        self.running_mean = asarray(np.zeros(num_features, dtype))
        self.running_var = asarray(np.ones(num_features, dtype))
        self.num_batches_tracked = asarray(np.array(0))
        self.num_features, self.eps, self.momentum = num_features, eps, momentum

    def forward(self, x: Any, keep: bool = True) -> Any:
        y, cache, running = batch_norm_forward(x, *self._state())
        self._store(*running)
        return self._keep((y, cache), keep)

    def backward(self, dy: Any) -> Any:
        dx, dw, db = batch_norm_backward(dy, self._kept())
        self._add(dw, db)
        return dx

    def _state(self) -> tuple[Any, ...]:
        """The arguments of the op that follow x."""
        weight_of_batch = self.momentum
        if weight_of_batch is None:
            weight_of_batch = 1 / (int(self.num_batches_tracked) + 1)
        return (
            self.running_mean, self.running_var, self.weight.value, self._bias(),
            self.training, weight_of_batch, self.eps,
        )  # fmt: skip

    def _store(self, running_mean: Any, running_var: Any) -> None:
        """Copy new statistics into the old arrays: a captured CUDA graph needs the same memory."""
        if self.training:
            self.running_mean[...], self.running_var[...] = running_mean, running_var
            self.num_batches_tracked += 1


class BatchNorm2dLeakyReLU(BatchNorm2d):
    """BatchNorm2d followed by LeakyReLU, in one op. See ops/batch_norm_leaky_relu.py."""

    def __init__(
        self,
        num_features: int,
        negative_slope: float = 0.01,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(num_features, eps, momentum, dtype=dtype)
        self.negative_slope = negative_slope

    def forward(self, x: Any, keep: bool = True) -> Any:
        y, cache, running = batch_norm_leaky_relu_forward(x, *self._state(), self.negative_slope)
        self._store(*running)
        return self._keep((y, cache), keep)

    def backward(self, dy: Any) -> Any:
        dx, dw, db = batch_norm_leaky_relu_backward(dy, self._kept())
        self._add(dw, db)
        return dx


class _Pool(Layer):
    """A pooling layer with windows of one size; stride None means kernel_size."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        name = type(self).__name__
        self.kernel_size = pair(f"{name}: kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair(f"{name}: stride", stride, 1)
        self.padding = pair(f"{name}: padding", padding, 0)


class MaxPool2d(_Pool):
    """Max pooling. See ops/max_pool2d.py."""

    def forward(self, x: Any, keep: bool = True) -> Any:
        y_and_cache = max_pool2d_forward(x, self.kernel_size, self.stride, self.padding)
        return self._keep(y_and_cache, keep)

    def backward(self, dy: Any) -> Any:
        return max_pool2d_backward(dy, self._kept())


class AvgPool2d(_Pool):
    """Average pooling; the average includes the padding. See ops/avg_pool2d.py."""

    def forward(self, x: Any, keep: bool = True) -> Any:
        y_and_cache = avg_pool2d_forward(x, self.kernel_size, self.stride, self.padding)
        return self._keep(y_and_cache, keep)

    def backward(self, dy: Any) -> Any:
        return avg_pool2d_backward(dy, self._kept())


class AdaptiveAvgPool2d(Layer):
    """Average pooling to a given output size. See ops/adaptive_avg_pool2d.py."""

    def __init__(self, output_size: Any) -> None:
        self.output_size = pair("AdaptiveAvgPool2d: output_size", output_size, 1)

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(adaptive_avg_pool2d_forward(x, self.output_size), keep)

    def backward(self, dy: Any) -> Any:
        return adaptive_avg_pool2d_backward(dy, self._kept())


class UpsamplingNearest2d(Layer):
    """Nearest-neighbour upsampling. See ops/upsample_nearest.py."""

    def __init__(self, *, scale_factor: Any) -> None:
        self.scale_factor = pair("UpsamplingNearest2d: scale_factor", scale_factor, 1)

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(upsample_nearest_forward(x, self.scale_factor), keep)

    def backward(self, dy: Any) -> Any:
        return upsample_nearest_backward(dy, self._kept())


class ReLU(Layer):
    """max(x, 0). See ops/relu.py."""

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(relu_forward(x), keep)

    def backward(self, dy: Any) -> Any:
        return relu_backward(dy, self._kept())


class LeakyReLU(Layer):
    """x, or negative_slope * x where x is negative. See ops/leaky_relu.py."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(leaky_relu_forward(x, self.negative_slope), keep)

    def backward(self, dy: Any) -> Any:
        return leaky_relu_backward(dy, self._kept())


class Sigmoid(Layer):
    """1 / (1 + exp(-x)). See ops/sigmoid.py."""

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(sigmoid_forward(x), keep)

    def backward(self, dy: Any) -> Any:
        return sigmoid_backward(dy, self._kept())


class Tanh(Layer):
    """The hyperbolic tangent. See ops/tanh.py."""

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(tanh_forward(x), keep)

    def backward(self, dy: Any) -> Any:
        return tanh_backward(dy, self._kept())


class Reparameterize(Layer):
    """z = mu + exp(logvar / 2) eps, with the noise as an argument. See ops/reparameterize.py."""

    def forward(self, mu: Any, logvar: Any, eps: Any, keep: bool = True) -> Any:
        return self._keep(reparameterize_forward(mu, logvar, eps), keep)

    def backward(self, dz: Any) -> tuple[Any, Any]:
        return reparameterize_backward(dz, self._kept())


class MeanLogvar(Layer):
    """Mean and log-variance of each image's values. See ops/mean_logvar.py."""

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(mean_logvar_forward(x), keep)

    def backward(self, dy: Any) -> Any:
        return mean_logvar_backward(dy, self._kept())
