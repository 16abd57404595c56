"""Layers: an op, its parameters, and the cache between forward and backward. No mathematics here.

    y = layer.forward(x)          keeps what backward needs; forward(x, keep=False) keeps nothing
    dx = layer.backward(dy)       adds to each Param.grad; uses the cache up, so once per forward

Names and constructor arguments are torch.nn's, and so are the initial values: uniform within
+-1/sqrt(fan_in) for the weights and biases of Linear, Conv2d and ConvTranspose2d. `rng` draws them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import ops
from .backend import asarray
from .module import Module, Param
from .ops.checks import pair, size


def uniform(rng: np.random.Generator, fan_in: int, shape: tuple[int, ...], dtype: Any) -> Param:
    """PyTorch's default: uniform within +-1/sqrt(fan_in). Every dtype draws the same numbers."""
    bound = fan_in**-0.5
    return Param(rng.uniform(-bound, bound, shape).astype(dtype))


class _Affine(Module):
    """A layer with a weight and maybe a bias: its op's backward gives dx, dw, db."""

    weight: Param
    bias: Param | None

    def _bias(self) -> Any:
        return None if self.bias is None else self.bias.value

    def _add(self, dx: Any, dw: Any, db: Any) -> Any:
        self.weight.grad += dw
        if self.bias is not None:
            self.bias.grad += db
        return dx


class _Product(_Affine):
    """Linear and the convolutions. With an activation, ReLU or LeakyReLU, the two are one op: see
    ops/linear_leaky_relu.py."""

    op: str
    sizes: tuple[Any, ...] = ()
    activation: ReLU | LeakyReLU | None = None

    def _set(self, activation: ReLU | LeakyReLU | None, **settings: Any) -> None:
        if not isinstance(activation, ReLU | LeakyReLU | None):
            raise TypeError(
                f"{type(self).__name__}: activation must be a ReLU or LeakyReLU layer, or None; "
                f"got {activation!r}"
            )
        self.activation, self.settings = activation, settings

    def children(self) -> Iterator[tuple[str, Module]]:
        return iter(())  # the activation is a setting: nobody calls it, and layers may share one

    def extra_repr(self) -> str:
        settings = [f"{name}={value}" for name, value in self.settings.items()]
        settings += ["bias=False"] if self.bias is None else []
        settings += [f"activation={self.activation}"] if self.activation else []
        return ", ".join(settings)

    def forward(self, x: Any, keep: bool = True) -> Any:
        arguments = x, self.weight.value, self._bias(), *self.sizes
        if self.activation is None:
            return self._keep(getattr(ops, f"{self.op}_forward")(*arguments), keep)
        forward = getattr(ops, f"{self.op}_leaky_relu_forward")
        return self._keep(forward(*arguments, self.activation.negative_slope), keep)

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        op = self.op if self.activation is None else f"{self.op}_leaky_relu"
        return self._add(*getattr(ops, f"{op}_backward")(dy, self._kept(), need_dx))


class Linear(_Product):
    """y = x weight^T + bias. See ops/linear.py."""

    op = "linear"

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        activation: ReLU | LeakyReLU | None = None,
        rng: np.random.Generator,
        dtype: Any = "float32",
    ) -> None:
        I, O = size("Linear: in_features", in_features), size("Linear: out_features", out_features)
        self.weight = uniform(rng, I, (O, I), dtype)
        self.bias = uniform(rng, I, (O,), dtype) if bias else None
        self._set(activation, in_features=I, out_features=O)


class Conv2d(_Product):
    """Convolution, weight (O, C, KH, KW). See ops/conv2d.py."""

    op = "conv2d"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        *,
        bias: bool = True,
        activation: ReLU | LeakyReLU | None = None,
        rng: np.random.Generator,
        dtype: Any = "float32",
    ) -> None:
        C, O = size("Conv2d: in_channels", in_channels), size("Conv2d: out_channels", out_channels)
        KH, KW = pair("Conv2d: kernel_size", kernel_size, 1)
        fan_in = C * KH * KW
        self.weight = uniform(rng, fan_in, (O, C, KH, KW), dtype)
        self.bias = uniform(rng, fan_in, (O,), dtype) if bias else None
        self.sizes = pair("Conv2d: stride", stride, 1), pair("Conv2d: padding", padding, 0)
        self._set(
            activation, in_channels=C, out_channels=O, kernel_size=(KH, KW),
            stride=self.sizes[0], padding=self.sizes[1],
        )  # fmt: skip


class ConvTranspose2d(_Product):
    """Transposed convolution, weight (C, O, KH, KW). See ops/conv_transpose2d.py."""

    op = "conv_transpose2d"

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
        activation: ReLU | LeakyReLU | None = None,
        rng: np.random.Generator,
        dtype: Any = "float32",
    ) -> None:
        C = size("ConvTranspose2d: in_channels", in_channels)
        O = size("ConvTranspose2d: out_channels", out_channels)
        KH, KW = pair("ConvTranspose2d: kernel_size", kernel_size, 1)
        fan_in = O * KH * KW  # PyTorch reads weight.shape[1], here the OUTPUT channels
        self.weight = uniform(rng, fan_in, (C, O, KH, KW), dtype)
        self.bias = uniform(rng, fan_in, (O,), dtype) if bias else None
        self.sizes = (
            pair("ConvTranspose2d: stride", stride, 1),
            pair("ConvTranspose2d: padding", padding, 0),
            pair("ConvTranspose2d: output_padding", output_padding, 0),
        )
        self._set(
            activation, in_channels=C, out_channels=O, kernel_size=(KH, KW),
            stride=self.sizes[0], padding=self.sizes[1], output_padding=self.sizes[2],
        )  # fmt: skip


class BatchNorm2d(_Affine):
    """Batch normalisation with running statistics. See ops/batch_norm.py.

    momentum is a new batch's weight in the running statistics; None: they are the averages over all
    batches, each of the same weight.
    """

    buffers = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        dtype: Any = "float32",
    ) -> None:
        size("BatchNorm2d: num_features", num_features)
        self.weight = Param(np.ones(num_features, dtype))
        self.bias = Param(np.zeros(num_features, dtype))
        self.running_mean = asarray(np.zeros(num_features, dtype))
        self.running_var = asarray(np.ones(num_features, dtype))
        self.num_batches_tracked = asarray(np.array(0))
        self.eps, self.momentum = eps, momentum

    def forward(self, x: Any, keep: bool = True) -> Any:
        y, cache, running = ops.batch_norm_forward(
            x, self.running_mean, self.running_var, self.weight.value, self._bias(),
            self.training, self.weight_of_batch(), self.eps,
        )  # fmt: skip
        self.store(*running)
        return self._keep((y, cache), keep)

    def extra_repr(self) -> str:
        return f"{self.weight.value.size}, eps={self.eps}, momentum={self.momentum}"

    def weight_of_batch(self) -> float:
        """Of the next one, in the running statistics."""
        return 1 / (int(self.num_batches_tracked) + 1) if self.momentum is None else self.momentum

    def store(self, running_mean: Any, running_var: Any) -> None:
        """Take over new statistics, in place: a captured graph reads and writes the same memory."""
        if self.training:
            self.running_mean[...], self.running_var[...] = running_mean, running_var
            self.num_batches_tracked += 1

    def backward(self, dy: Any) -> Any:
        return self._add(*ops.batch_norm_backward(dy, self._kept()))


class BatchNormLeakyReLU(Module):
    """A BatchNorm2d and the LeakyReLU after it in one op. Parameters, statistics and mode are those
    of the two layers, which keep their names. See ops/batch_norm_leaky_relu.py."""

    def __init__(self, norm: BatchNorm2d, activation: LeakyReLU) -> None:
        self.layers = norm, activation

    def forward(self, x: Any, keep: bool = True) -> Any:
        norm, activation = self.layers
        y, cache, running = ops.batch_norm_leaky_relu_forward(
            x, norm.running_mean, norm.running_var, norm.weight.value, norm._bias(),
            norm.training, norm.weight_of_batch(), norm.eps, activation.negative_slope,
        )  # fmt: skip
        norm.store(*running)
        return self._keep((y, cache), keep)

    def backward(self, dy: Any) -> Any:
        return self.layers[0]._add(*ops.batch_norm_leaky_relu_backward(dy, self._kept()))


class _Pool(Module):
    """A pooling layer with windows of one size; stride None: windows touch."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        name = type(self).__name__
        self.sizes = (
            pair(f"{name}: kernel_size", kernel_size, 1),
            stride if stride is None else pair(f"{name}: stride", stride, 1),
            pair(f"{name}: padding", padding, 0),
        )

    def extra_repr(self) -> str:
        return "kernel_size={}, stride={}, padding={}".format(*self.sizes)


class MaxPool2d(_Pool):
    """Max pooling. See ops/max_pool2d.py."""

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(ops.max_pool2d_forward(x, *self.sizes), keep)

    def backward(self, dy: Any) -> Any:
        return ops.max_pool2d_backward(dy, self._kept())


class AvgPool2d(_Pool):
    """Average pooling, padding counted. See ops/avg_pool2d.py."""

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(ops.avg_pool2d_forward(x, *self.sizes), keep)

    def backward(self, dy: Any) -> Any:
        return ops.avg_pool2d_backward(dy, self._kept())


class AdaptiveAvgPool2d(Module):
    """Average pooling to a given output size. See ops/adaptive_avg_pool2d.py."""

    def __init__(self, output_size: Any) -> None:
        self.output_size = pair("AdaptiveAvgPool2d: output_size", output_size, 1)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(ops.adaptive_avg_pool2d_forward(x, self.output_size), keep)

    def backward(self, dy: Any) -> Any:
        return ops.adaptive_avg_pool2d_backward(dy, self._kept())


class UpsamplingNearest2d(Module):
    """Nearest-neighbour upsampling. See ops/upsample_nearest.py."""

    def __init__(self, *, scale_factor: Any) -> None:
        self.scale_factor = pair("UpsamplingNearest2d: scale_factor", scale_factor, 1)

    def extra_repr(self) -> str:
        return f"scale_factor={self.scale_factor}"

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(ops.upsample_nearest_forward(x, self.scale_factor), keep)

    def backward(self, dy: Any) -> Any:
        return ops.upsample_nearest_backward(dy, self._kept())


class ReLU(Module):
    """max(x, 0). See ops/relu.py."""

    negative_slope = 0.0

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(ops.relu_forward(x), keep)

    def backward(self, dy: Any) -> Any:
        return ops.relu_backward(dy, self._kept())


class LeakyReLU(Module):
    """x, or negative_slope * x where x is negative. See ops/leaky_relu.py."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(ops.leaky_relu_forward(x, self.negative_slope), keep)

    def backward(self, dy: Any) -> Any:
        return ops.leaky_relu_backward(dy, self._kept())


class Sigmoid(Module):
    """1 / (1 + exp(-x)). See ops/sigmoid.py."""

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(ops.sigmoid_forward(x), keep)

    def backward(self, dy: Any) -> Any:
        return ops.sigmoid_backward(dy, self._kept())


class Tanh(Module):
    """The hyperbolic tangent. See ops/tanh.py."""

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(ops.tanh_forward(x), keep)

    def backward(self, dy: Any) -> Any:
        return ops.tanh_backward(dy, self._kept())


class Reparameterize(Module):
    """z = mu + exp(logvar / 2) eps, the noise an argument. See ops/reparameterize.py."""

    def forward(self, mu: Any, logvar: Any, eps: Any, keep: bool = True) -> Any:
        return self._keep(ops.reparameterize_forward(mu, logvar, eps), keep)

    def backward(self, dz: Any) -> tuple[Any, Any]:
        return ops.reparameterize_backward(dz, self._kept())


class MeanLogvar(Module):
    """Mean and log-variance of each image's values. See ops/mean_logvar.py."""

    def forward(self, x: Any, keep: bool = True) -> Any:
        return self._keep(ops.mean_logvar_forward(x), keep)

    def backward(self, dy: Any) -> Any:
        return ops.mean_logvar_backward(dy, self._kept())
