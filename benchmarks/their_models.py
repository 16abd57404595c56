"""The six models in PyTorch: those of tests/torch_models.py, with what a benchmark needs besides.

Their own `losses` takes the KL term from torch.distributions, as a second opinion should; here it
is the closed formula, which most programs use and which costs less.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
models: Any = importlib.import_module("torch_models")


class Conv(models.Conv):
    """For square images of any size."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.grid = (64, size // 4, size // 4)
        flat = 64 * (size // 4) ** 2
        self.fc1, self.fc3 = nn.Linear(flat, 256), nn.Linear(256, flat)

    def decode(self, z: Any) -> Any:
        h = F.relu(self.fc3(F.relu(self.fc2(z)))).view(-1, *self.grid)
        return self.deconv2(F.relu(self.deconv1(h)))


class CelebA(models.CelebA):
    """For square images of any size."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.grid = (512, size // 32, size // 32)
        flat = 512 * (size // 32) ** 2
        self.fc_mu, self.fc_logvar = nn.Linear(flat, 128), nn.Linear(flat, 128)
        self.decoder_input = nn.Linear(128, flat)

    def decode(self, z: Any) -> Any:
        return self.decoder(self.decoder_input(z).view(-1, *self.grid))


def build(name: str, image_size: int | None) -> Any:
    """The model, for square images of this size; None: of its own."""
    own = 64 if name in ("celeba", "skip") else 28
    if image_size in (None, own) or name == "skip":  # skip is convolutions all through
        return models.MODELS[name]()
    if name not in ("conv", "celeba"):
        raise ValueError(
            f"the {name} of tests/torch_models.py is written for images of {own} x {own}: "
            "--against nothing times ours alone"
        )
    return {"conv": Conv, "celeba": CelebA}[name](image_size)


def losses(model: Any, x: Any, eps: Any) -> tuple[Any, Any, Any]:
    """total, reconstruction, kl."""
    if isinstance(model, models.AE):
        return model.losses(x, eps)
    output, mu, logvar = model(x, eps)
    reconstruction = model.error(output, x)
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp()) / len(x)
    return reconstruction + model.kl_weight * kl, reconstruction, kl
