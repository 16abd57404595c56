"""Pictures: image grids, reconstructions over originals, the latent plane, loss curves.

The only module that imports matplotlib, and it draws straight into files: no window, no display.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from .backend import asarray, asnumpy


def to_uint8(images: Any, data_range: tuple[float, float]) -> np.ndarray:
    """(N, C, H, W) in data_range -> (N, C, H, W) uint8; values outside are clipped."""
    low, high = data_range
    if asnumpy(images).dtype.kind not in "f":
        raise TypeError(f"to_uint8: images must be floats in data_range, got {images.dtype}")
    scaled = (asnumpy(images).astype("float64") - low) / (high - low)
    return np.rint(255 * np.clip(scaled, 0, 1)).astype("uint8")


def image_grid(
    images: Any,
    path: str | os.PathLike[str],
    columns: int,
    data_range: tuple[float, float] = (0.0, 1.0),
    zoom: int = 3,
    gap: int = 1,
) -> None:
    """Write images side by side to a PNG, `columns` to a row, each pixel `zoom` x `zoom`.

    Parameters
    ----------
    images : array (N, C, H, W), C 1 or 3
    gap : int
        Pixels (before zooming) between images and around the grid.
    """
    sheet = _sheet("image_grid", images, columns, data_range, gap)
    sheet = sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)
    Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet).save(path)


def _sheet(
    name: str, images: Any, columns: int, data_range: tuple[float, float], gap: int
) -> np.ndarray:
    """All images on one sheet, (height, width, C) uint8."""
    pixels = to_uint8(images, data_range)
    N, C, H, W = pixels.shape
    if C not in (1, 3):
        raise ValueError(f"{name}: images must have 1 or 3 channels, got shape {pixels.shape}")
    rows = -(-N // columns)
    sheet = np.full((rows * (H + gap) + gap, columns * (W + gap) + gap, C), 64, "uint8")
    for i, image in enumerate(pixels):
        top, left = (gap + (i // columns) * (H + gap)), (gap + (i % columns) * (W + gap))
        sheet[top : top + H, left : left + W] = image.transpose(1, 2, 0)
    return sheet


def labelled_rows(
    rows: dict[str, Any], path: str | os.PathLike[str], data_range: tuple[float, float] = (0.0, 1.0)
) -> None:
    """Write one row of images under each label to a PNG.

    Parameters
    ----------
    rows : dict of str to array (N, C, H, W), C 1 or 3
        The same number of images in each.
    """
    counts = {label: len(images) for label, images in rows.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"labelled_rows: rows must hold the same number of images, got {counts}")
    sheets = [_sheet("labelled_rows", a, len(a), data_range, gap=1) for a in rows.values()]
    height, width = sheets[0].shape[:2]
    inches = min(9.0, width / height)  # wide, but no image higher than one inch
    figure = Figure(figsize=(9, (inches * height / width + 0.25) * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for ax, label, sheet in zip(axes, rows, sheets, strict=True):
        ax.imshow(np.broadcast_to(sheet, (*sheet.shape[:2], 3)), interpolation="nearest")
        ax.set_title(label, loc="left", fontsize=9)
        ax.set_anchor("W")
        ax.axis("off")
    figure.savefig(path, dpi=160)


def reconstructions(model: Any, x: Any, path: str | os.PathLike[str]) -> None:
    """The images x in a row, over their reconstructions at z = mu, without noise."""
    pictures = np.concatenate([asnumpy(x), asnumpy(model.reconstruct(x))])
    image_grid(pictures, path, columns=len(x), data_range=model.data_range)


def interpolation(model: Any, pairs: Any, path: str | os.PathLike[str], steps: int = 10) -> None:
    """A row per pair of images: decoded from evenly spaced points between their codes.

    Parameters
    ----------
    pairs : array (2 R, C, H, W)
        Each two in a row are the ends of one row.
    """
    codes = model.embed(pairs)
    if len(pairs) % 2:
        raise ValueError(f"interpolation: pairs must be an even number of images, got {len(pairs)}")
    t = np.linspace(0, 1, steps, dtype=model.dtype)
    t = asarray(t.reshape(-1, *(1,) * (codes.ndim - 1)))
    rows = [
        asnumpy(model.generate((1 - t) * codes[i : i + 1] + t * codes[i + 1 : i + 2]))
        for i in range(0, len(pairs), 2)
    ]
    image_grid(np.concatenate(rows), path, columns=steps, data_range=model.data_range)


def manifold(model: Any, path: str | os.PathLike[str], size: int = 20) -> None:
    """The decoded latent plane of a model with two latent dimensions.

    The codes lie at the (i + 1/2) / size quantiles of N(0, 1) along each axis: every picture stands
    for the same share of the prior. Second coordinate upwards.
    """
    if model.latent_shape != (2,):
        raise ValueError(f"manifold: latent_shape must be (2,), got {model.latent_shape}")
    from statistics import NormalDist

    quantiles = [NormalDist().inv_cdf((i + 0.5) / size) for i in range(size)]
    codes = np.array([(a, b) for b in reversed(quantiles) for a in quantiles], model.dtype)
    image_grid(model.generate(asarray(codes)), path, size, model.data_range, zoom=2, gap=0)


def loss_curves(
    history: Sequence[dict[str, float]],
    path: str | os.PathLike[str],
    unit: str = "nats per image",
    held_out: str = "test",
) -> None:
    """Training and test losses by epoch, each with a sampled z, reconstruction and KL apart.

    Parameters
    ----------
    history : sequence of dict
        One per epoch: train_total, train_reconstruction, train_kl and the same with test_.
    unit : str
        Of the reconstruction.
    held_out : str
        "validation", where the numbers beside those of the training are called validation_.
    """
    epochs = np.arange(1, len(history) + 1)
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    has_kl = any(
        epoch[f"{held_out}_kl"] for epoch in history
    )  # an autoencoder has none, and no sampling
    parts = ("total", "reconstruction", "kl") if has_kl else ("total",)
    note = ", sampled z" if has_kl else ""
    units = {"total": "what training minimises", "reconstruction": unit, "kl": "nats per image"}
    if not has_kl:
        units["total"] = unit
    for axes, part in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        for split, style in (("train", "o--"), (held_out, "o-")):
            axes.plot(
                epochs, [e[f"{split}_{part}"] for e in history], style, ms=3, label=split + note
            )
        axes.set_title(f"{'KL' if part == 'kl' else part}, {units[part]}", fontsize=9)
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, len(history) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    figure.savefig(path, dpi=120)


def errors_by_step(title: str, curves: Sequence[Any], path: str | os.PathLike[str]) -> None:
    """The error of numeric derivatives against the step h, both in logarithms, a panel per tensor.

    Parameters
    ----------
    curves : sequence of gradcheck.curves.Curve
    """
    figure = Figure(figsize=(max(5.2, 4.2 * len(curves)), 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axes, curve in zip(panels, curves, strict=True):
        for name, style in (("one_sided", "C1v-"), ("central", "C0o-"), ("complex", "C2s-")):
            label = {"complex": "complex step"}.get(name, f"{name.replace('_', '-')} differences")
            axes.loglog(curve.steps, getattr(curve, name), style, ms=3, lw=1, label=label)
        axes.loglog(curve.steps, curve.rounding, "k:", lw=1, label="rounding, ~ 1/h")
        # the complex step sees no kinks: its error is truncation, h² f'''/6, and so is central's
        truncated = curve.complex > 1e-12
        if truncated.any():  # not so for linear functions
            factor = np.median(curve.complex[truncated] / curve.steps[truncated] ** 2)
            slope = factor * curve.steps**2
            axes.loglog(curve.steps, slope, "k--", lw=1, label="truncation, ~ h²")
        axes.set(xlabel="step h", ylim=(1e-17, 10), title=f"{title}: gradient of {curve.tensor}")
        axes.title.set_fontsize(9)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("error along a direction, relative to |dx|")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path, dpi=120)


def kernel_gradients(
    title: str, analytic: np.ndarray, numeric: np.ndarray, path: str | os.PathLike[str]
) -> None:
    """Gradients of convolution kernels (O, C, KH, KW), side by side: analytic, numeric, and their
    difference on a scale of its own. A row for each O, a column for each C."""
    wide = analytic.shape[1] == 1  # a single input channel: all in one row
    if wide:
        analytic, numeric = analytic.swapaxes(0, 1), numeric.swapaxes(0, 1)
    rows, columns, KH, KW = analytic.shape
    sheet_size = (rows * (KH + 1) - 1, columns * (KW + 1) - 1)
    figure = Figure(figsize=(7, 4) if wide else (10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(*((3, 1) if wide else (1, 3)))
    shown = {"analytic": analytic, "numeric": numeric, "difference": analytic - numeric}
    for axes, (name, kernels) in zip(panels, shown.items(), strict=True):
        sheet = np.full(sheet_size, np.nan)
        for o, c in np.ndindex(rows, columns):
            top, left = o * (KH + 1), c * (KW + 1)
            sheet[top : top + KH, left : left + KW] = kernels[o, c]
        most = float(np.abs(analytic if name != "difference" else kernels).max()) or 1e-300
        image = axes.imshow(sheet, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
        axes.set_title(f"{name}, within ±{most:.1e}", fontsize=9)
        axes.axis("off")
        figure.colorbar(image, ax=axes, shrink=0.8).ax.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=120)
