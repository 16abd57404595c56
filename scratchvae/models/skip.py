"""A VAE in the shape of a U-Net: the decoder gets not only z, but the encoder's maps as well.

    encoder   x -> 5 x [Conv2d -> LeakyReLU -> Conv2d -> LeakyReLU -> MaxPool2d] -> MaxPool2d -> h
    latent    "scalar":  mu, logvar = mean and log-variance of all of h, one number each
              "learned": mu = head_mu(h), logvar = head_logvar(h), one number for each position of h
    sample    z = mu + exp(logvar / 2) eps          on the grid of h: (256, H/64, W/64)
    decoder   z -> 6 x [ConvTranspose2d -> add the skip -> 2 x [Conv2d -> LeakyReLU]]
              the last stage without LeakyReLU; a sigmoid ends it: images lie in [0, 1]
    loss      mean squared error + 0.00025 KL

The skips, deepest first: the pooled maps of the five stages and, at full size, the image itself. So
the decoder can copy the image without using z, and a trained one does; `effect_of_z`
(evaluation/metrics.py) measures it. `skips` is "all", "deep" (without the image) or "none".
3,733,691 parameters; 3,865,275 with the two heads. Differences from the tutorial: docs/errata.md.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from ..backend import array_module
from ..layers import Conv2d, ConvTranspose2d, LeakyReLU, MaxPool2d, MeanLogvar, Sigmoid
from ..module import Module
from .vae import SquaredErrorVAE

CHANNELS = (16, 32, 64, 128, 256)


class Down(Module):
    """Two convolutions, then max pooling, which halves height and width."""

    def __init__(self, in_channels: int, channels: int, **made: Any) -> None:
        self.conv1 = Conv2d(in_channels, channels, 3, padding=1, **made)
        self.relu1 = LeakyReLU(0.2)
        self.conv2 = Conv2d(channels, channels, 3, padding=1, **made)
        self.relu2 = LeakyReLU(0.2)
        self.pool = MaxPool2d(2)

    def forward(self, h: Any, keep: bool = True) -> Any:
        h = self.relu1.forward(self.conv1.forward(h, keep), keep)
        h = self.relu2.forward(self.conv2.forward(h, keep), keep)
        return self.pool.forward(h, keep)

    def backward(self, dh: Any, need_dx: bool = True) -> Any:
        dh = self.pool.backward(dh)
        dh = self.conv2.backward(self.relu2.backward(dh))
        return self.conv1.backward(self.relu1.backward(dh), need_dx)


class Up(Module):
    """Double height and width, add a skip, apply two convolutions; `last`: without LeakyReLU."""

    def __init__(self, in_channels: int, channels: int, last: bool, **made: Any) -> None:
        self.up = ConvTranspose2d(
            in_channels, channels, 3, stride=2, padding=1, output_padding=1, **made
        )
        self.conv1 = Conv2d(channels, channels, 3, padding=1, **made)
        self.conv2 = Conv2d(channels, channels, 3, padding=1, **made)
        if not last:
            self.relu1, self.relu2 = LeakyReLU(0.2), LeakyReLU(0.2)
        self.last = last

    def forward(self, h: Any, skip: Any, keep: bool = True) -> Any:
        h = self.up.forward(h, keep)
        if skip is not None:
            h = h + skip
        h = self.conv1.forward(h, keep)
        h = h if self.last else self.relu1.forward(h, keep)
        h = self.conv2.forward(h, keep)
        return h if self.last else self.relu2.forward(h, keep)

    def backward(self, dh: Any) -> tuple[Any, Any]:
        """dh of the input, dskip: the gradient of a sum is the gradient of both its terms."""
        dh = dh if self.last else self.relu2.backward(dh)
        dh = self.conv2.backward(dh)
        dh = dh if self.last else self.relu1.backward(dh)
        dskip = self.conv1.backward(dh)
        return self.up.backward(dskip), dskip


class Skip(SquaredErrorVAE):
    """Convolutional VAE with additive skips. Height and width are multiples of 64."""

    side_multiple = 64

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (3, 64, 64),
        skips: str = "all",
        latent: str = "scalar",
        kl_weight: float = 0.00025,
        free_bits: float = 0.0,
        *,
        rng: np.random.Generator,
        dtype: Any = "float32",
    ) -> None:
        if skips not in ("all", "deep", "none"):
            raise ValueError(f"Skip: skips must be 'all', 'deep' or 'none', got {skips!r}")
        if latent not in ("scalar", "learned"):
            raise ValueError(f"Skip: latent must be 'scalar' or 'learned', got {latent!r}")
        super().__init__(kl_weight, free_bits)
        self.image_shape, self.skips, self.latent = tuple(image_shape), skips, latent
        self.latent_shape = (CHANNELS[-1], *self._grid())
        self.has_skips = skips != "none"
        self.shared_codes = prod(self.latent_shape) if latent == "scalar" else 1
        C, deepest = image_shape[0], CHANNELS[-1]
        made = {"rng": rng, "dtype": dtype}
        self.encoder = [Down(a, b, **made) for a, b in pairwise((C, *CHANNELS))]
        self.pool = MaxPool2d(2)
        if latent == "learned":
            self.head_mu = Conv2d(deepest, deepest, 1, **made)
            self.head_logvar = Conv2d(deepest, deepest, 1, **made)
        else:
            self.mean_logvar = MeanLogvar()
        ups = [*pairwise((deepest, *reversed(CHANNELS), C))]
        self.decoder = [Up(a, b, last=i == len(ups) - 1, **made) for i, (a, b) in enumerate(ups)]
        self.sigmoid = Sigmoid()
        self.to(dtype)

    def encode(self, x: Any, keep: bool = False) -> tuple[Any, Any, list[Any]]:
        """mu, logvar: (N,), or (N, *latent_shape) if learned; six skips or None, deepest first."""
        h, maps = x, [x]  # maps: full size first
        for stage in self.encoder:
            h = stage.forward(h, keep)  # (N, 16, H/2, W/2) ... (N, 256, H/32, W/32)
            maps.append(h)
        h = self.pool.forward(h, keep)  # (N, 256, H/64, W/64)
        if self.latent == "learned":
            mu, logvar = self.head_mu.forward(h, keep), self.head_logvar.forward(h, keep)
        else:
            mu, logvar = self.mean_logvar.forward(h, keep)
        if self.skips == "deep":
            maps[0] = None
        if self.skips == "none":
            maps = [None] * len(maps)
        return mu, logvar, maps[::-1]

    def decode(self, z: Any, keep: bool = False, skips: Any = (None,) * 6) -> Any:
        """The image of z and the skips, deepest first: (N, C, H, W). None: nothing is added."""
        h = z  # (N, 256, H/64, W/64)
        for stage, skip in zip(self.decoder, skips, strict=True):
            h = stage.forward(h, skip, keep)  # (N, 256, H/32, W/32) ... (N, C, H, W)
        return self.sigmoid.forward(h, keep)

    def forward(self, x: Any, eps: Any, keep: bool = False) -> tuple[Any, Any, Any]:
        mu, logvar, skips = self.encode(x, keep)
        z = self.sample.forward(self._on_grid(mu), self._on_grid(logvar), eps, keep)
        return self.decode(z, keep, skips), mu, logvar

    def backward(self) -> None:
        """decode, sample and encode above, read from the last line to the first."""
        dimage, dmu_kl, dlogvar_kl = self.loss_backward()

        dh, dskips = self.sigmoid.backward(dimage), []
        for stage in reversed(self.decoder):
            dh, dskip = stage.backward(dh)
            dskips.append(dskip)

        # mu and logvar reach the loss on two paths, through z and through the KL term: add both
        dmu_z, dlogvar_z = self.sample.backward(dh)
        if self.latent == "learned":
            dh = self.head_mu.backward(dmu_kl + dmu_z)
            dh = dh + self.head_logvar.backward(dlogvar_kl + dlogvar_z)
        else:  # one mu and one logvar stand at every position of the grid: sum over them
            dmu, dlogvar = dmu_kl + dmu_z.sum((1, 2, 3)), dlogvar_kl + dlogvar_z.sum((1, 2, 3))
            dh = self.mean_logvar.backward(array_module(dmu).stack([dmu, dlogvar]))

        dh = self.pool.backward(dh)
        _, *dmaps = dskips  # full size first; the image needs no gradient
        for i in reversed(range(len(self.encoder))):
            if self.skips != "none":
                dh = dh + dmaps[i]  # this map is input of the next stage, and a skip: add both
            dh = self.encoder[i].backward(dh, need_dx=i > 0)

    def embed(self, x: Any) -> Any:
        return self._on_grid(super().embed(x)).copy()

    def generate(self, z: Any, skips_from: Any = None) -> Any:
        """The image of each code, in evaluation mode: (N, *image_shape). The skips come from the
        images `skips_from`, (N, *image_shape), which leak into the result. By default no skips are
        added, as in the training of a model with skips="none", and of no other."""
        self._check_codes(z)
        with self.evaluating():
            if skips_from is None:
                return self.decode(z)
            self._check("generate", "skips_from", skips_from, self.image_shape, N=len(z))
            return self.decode(z, skips=self.encode(skips_from)[2])

    def reconstruct(self, x: Any) -> Any:
        """Decode each image from its code (z = mu) and its skips, in evaluation mode."""
        return self.generate(self.embed(x), skips_from=x)

    def _on_grid(self, number: Any) -> Any:
        """(N,) -> (N, *latent_shape), the same number everywhere; no change if latent="learned"."""
        if self.latent == "learned":
            return number
        spread = number.reshape(-1, 1, 1, 1)
        return array_module(number).broadcast_to(spread, (len(number), *self.latent_shape))
