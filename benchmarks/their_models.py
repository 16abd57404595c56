"""The six models in PyTorch: those of tests/torch_models.py, with a loss that takes less time."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
models: Any = importlib.import_module("torch_models")


def build(name: str, image_size: int | None) -> Any:
    """The model, for square images of this size; None: for its default size."""
    own = 64 if name in ("celeba", "skip") else 28
    if image_size not in (None, own) and name != "skip":  # skip consists of convolutions only
        raise ValueError(
            f"the {name} of tests/torch_models.py is written for images of {own} x {own}: "
            "--against nothing times ours alone"
        )
    return models.MODELS[name]()


def losses(model: Any, x: Any, eps: Any) -> tuple[Any, Any, Any]:
    """total, reconstruction, kl. The KL term is the closed formula, as in most programs; that of
    torch.distributions, which the tests use, takes longer."""
    if isinstance(model, models.AE):
        return model.losses(x, eps)
    output, mu, logvar = model(x, eps)
    reconstruction = model.error(output, x)
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp()) / len(x)
    return reconstruction + model.kl_weight * kl, reconstruction, kl
