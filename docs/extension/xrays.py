"""X-ray pages of two small models in which every op appears, and the address of each op in them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

import scratchvae as sv
from scratchvae.layers import (
    AvgPool2d,
    BatchNorm2d,
    BatchNorm2dLeakyReLU,
    Conv2d,
    LeakyReLU,
    Linear,
    MaxPool2d,
    MeanLogvar,
    Sigmoid,
    Tanh,
)
from scratchvae.models import Model, SquaredErrorVAE
from scratchvae.xray.page import Content, rendered
from scratchvae.xray.record import record

if TYPE_CHECKING:
    from sphinx.application import Sphinx


VIEWS = '<nav aria-label="Views">'  # of an X-ray page: it gets a link back to the site


class OtherOps(SquaredErrorVAE):
    """A model for digits of 8 x 8 pixels with the ops that `tiny` has not."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(kl_weight=0.01, free_bits=0.1)
        self.image_shape, self.latent_shape = (1, 8, 8), (1,)
        self.conv = Conv2d(1, 4, 3, padding=1, rng=rng)
        self.batch_norm, self.leaky_relu = BatchNorm2d(4), LeakyReLU(0.2)
        self.max_pool = MaxPool2d(2)
        self.batch_norm_leaky_relu = BatchNorm2dLeakyReLU(4, 0.2)
        self.avg_pool, self.mean_logvar = AvgPool2d(2), MeanLogvar()
        self.fc1, self.tanh = Linear(1, 16, rng=rng), Tanh()
        self.fc2, self.sigmoid = Linear(16, 64, rng=rng), Sigmoid()
        self.to("float32")

    def encode(self, x: Any, keep: bool = False) -> tuple[Any, Any]:
        h = self.conv.forward(x, keep)  # (N, 4, 8, 8)
        h = self.batch_norm.forward(h, keep)
        h = self.leaky_relu.forward(h, keep)
        h = self.max_pool.forward(h, keep)  # (N, 4, 4, 4)
        h = self.batch_norm_leaky_relu.forward(h, keep)
        h = self.avg_pool.forward(h, keep)  # (N, 4, 2, 2)
        mu, logvar = self.mean_logvar.forward(h, keep)  # (N,) each
        return mu.reshape(-1, 1), logvar.reshape(-1, 1)

    def decode(self, z: Any, keep: bool = False) -> Any:
        h = self.fc1.forward(z, keep)  # (N, 16)
        h = self.tanh.forward(h, keep)
        h = self.fc2.forward(h, keep)  # (N, 64)
        y = self.sigmoid.forward(h, keep)
        return y.reshape(len(z), *self.image_shape)

    def backward(self) -> None:
        dimage, dmu_kl, dlogvar_kl = self.loss_backward()
        dh = self.sigmoid.backward(dimage.reshape(len(dimage), -1))
        dh = self.fc2.backward(dh)
        dh = self.tanh.backward(dh)
        dz = self.fc1.backward(dh)
        dmu_z, dlogvar_z = self.sample.backward(dz)
        dmu, dlogvar = dmu_kl + dmu_z, dlogvar_kl + dlogvar_z
        dh = self.mean_logvar.backward(np.stack([dmu[:, 0], dlogvar[:, 0]]))
        dh = self.avg_pool.backward(dh)
        dh = self.batch_norm_leaky_relu.backward(dh)
        dh = self.max_pool.backward(dh)
        dh = self.leaky_relu.backward(dh)
        dh = self.batch_norm.backward(dh)
        self.conv.backward(dh, need_dx=False)


@cache
def contents() -> dict[str, Content]:
    """name -> the recorded step of a model, on two drawn digits, by the engine numpy."""
    digits = sv.data.load("glyphs").test_images[:2].reshape(2, 1, 28, 28)
    small = digits[:, :, 2:26, 2:26].reshape(2, 1, 8, 3, 8, 3).mean(axis=(3, 5))
    rng = np.random.default_rng(0)
    small = 0.9 * small + rng.uniform(0, 25, small.shape)  # no ties for the max pooling
    tiny, other = sv.models.build("tiny", seed=0), OtherOps(rng)
    return {"tiny": _content(tiny, digits), "other-ops": _content(other, small)}


def _content(model: Model, pixels: np.ndarray) -> Content:
    x = (pixels / 255).astype("float32")
    with sv.using("numpy"):
        return Content(record(model, x, model.noise(len(x), np.random.default_rng(1))))


@cache
def addresses() -> dict[str, str]:
    """op -> where it is shown; `optim` is the update of Adam."""
    found: dict[str, str] = {}
    for name, content in contents().items():
        for section in content.sections:
            direction = "update" if section.op == "optim" else "forward"
            found.setdefault(section.op, f"xray/{name}.html#{section.name}/{direction}/0")
    return found


def write_pages(app: Sphinx, failure: Exception | None) -> None:
    if failure is None and app.builder.format == "html":
        folder = app.outdir / "xray"
        folder.mkdir(exist_ok=True)
        images = "Two digits drawn from a font. The weights are fresh (seed 0)."
        for name, content in contents().items():
            text = rendered(content, f"{name}: a training step", images)
            text = text.replace(VIEWS, f'{VIEWS}\n    <a href="../ops/index.html">The ops</a>', 1)
            (folder / f"{name}.html").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
