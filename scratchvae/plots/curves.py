"""Pictures with axes: curves, points and kernels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np

from ..output import whole_file
from .drawing import Figure, hsv_to_rgb, to_rgb
from .images import Path, check_path, plain

# Of a legend: classes in all, in a column; letters in a name.
MOST_CLASSES, CLASSES_IN_A_COLUMN, LONGEST_NAME = 120, 30, 24


def loss_curves(
    history: Sequence[dict[str, float]],
    path: Path,
    unit: str = "nats per image",
    held_out: str = "test",
) -> None:
    """Training and test losses by epoch, each with a sampled z; reconstruction and KL apart.

    Parameters
    ----------
    history : sequence of dict
        One per epoch: train_total, train_reconstruction, train_kl, and the same with the
        prefix `held_out`.
    unit : str
        Of the reconstruction.
    held_out : {"test", "validation"}
    """
    epochs = np.arange(1, len(history) + 1)
    parts, note = {"total": f"total, {unit}"}, ""
    if any(epoch[f"{held_out}_kl"] for epoch in history):  # an autoencoder has none, and no noise
        note = ", sampled z"
        parts = {
            "total": "total, what training minimises",
            "reconstruction": f"reconstruction, {unit}",
            "kl": "KL, nats per image",
        }
    figure, panels = _panels(1, len(parts), 10, 3.2)
    for axes, (part, title) in zip(panels, parts.items(), strict=True):
        for split, style in (("train", "o--"), (held_out, "o-")):
            losses = [epoch[f"{split}_{part}"] for epoch in history]
            axes.plot(epochs, losses, style, ms=3, label=split + note)
        axes.set(title=title, xlabel="epoch", xlim=(0.5, len(history) + 0.5))
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.yaxis.get_major_formatter().set_useOffset(False)
    panels[0].legend()
    save("loss_curves", figure, path)


def errors_by_step(title: str, curves: Sequence[Any], path: Path) -> None:
    """Errors of numeric derivatives against the step h, log-log; a panel for each `Curve`."""
    figure, panels = _panels(1, len(curves), max(5.2, 4.2 * len(curves)), 4, sharey=True)
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
    panels[0].set_ylabel("error along a direction, relative to |dx|")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    save("errors_by_step", figure, path)


def kernel_gradients(
    title: str,
    analytic: np.ndarray,
    numeric: np.ndarray,
    path: Path,
    channels: tuple[str, str] = ("output channel", "input channel"),
) -> None:
    """Kernels (O, C, KH, KW): analytic, numeric, and the difference on its own colour scale.

    `channels` says what the first two axes are, which go down and across.
    """
    wide = analytic.shape[1] == 1  # all kernels in one row
    if wide:
        analytic, numeric = analytic.swapaxes(0, 1), numeric.swapaxes(0, 1)
        channels = channels[::-1]
    rows, columns, KH, KW = analytic.shape
    size = (3, 1, 7, 4.5) if wide else (1, 3, 10, 6)
    figure, panels = _panels(*size, sharex=True, sharey=True)
    shown = {"analytic": analytic, "numeric": numeric, "difference": analytic - numeric}
    for axes, (name, kernels) in zip(panels, shown.items(), strict=True):
        gaps = np.pad(kernels, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
        sheet = gaps.swapaxes(1, 2).reshape(rows * (KH + 1), columns * (KW + 1))[:-1, :-1]
        most = float(np.abs(analytic if name != "difference" else kernels).max()) or 1e-300
        image = axes.imshow(sheet, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
        axes.set_xticks([c * (KW + 1) + (KW - 1) / 2 for c in range(columns)], range(columns))
        axes.set_yticks([o * (KH + 1) + (KH - 1) / 2 for o in range(rows)], range(rows))
        axes.set(title=f"{name}, within ±{most:.1e}", ylabel=channels[0], xlabel=channels[1])
        axes.label_outer()
        axes.tick_params(length=0, labelsize=7)
        axes.spines[:].set_visible(False)
        axes.grid(visible=False)
        scale = figure.colorbar(image, ax=axes, shrink=0.8).ax
        scale.tick_params(labelsize=7)
        scale.yaxis.get_offset_text().set_fontsize(7)
    figure.suptitle(title, fontsize=10)
    save("kernel_gradients", figure, path)


def code_scatter(
    codes: np.ndarray,
    labels: np.ndarray,
    path: Path,
    title: str,
    classes: Sequence[str] | None = None,
) -> None:
    """Codes (N, 2) as points, each class in a colour of its own.

    Parameters
    ----------
    codes : array (N, 2)
    labels : array of integers (N,)
    classes : sequence of str, optional
        The name of each label. Default: the number itself.

    Raises
    ------
    ValueError
        If codes or labels have another shape, or the path does not end in .png.
    OSError
        If the picture cannot be written.
    """
    codes, labels = np.asarray(codes), np.asarray(labels)
    if codes.ndim != 2 or codes.shape[1] != 2 or labels.shape != codes.shape[:1]:
        raise ValueError(
            "code_scatter: expected codes (N, 2) and as many labels, got shapes "
            f"{codes.shape} and {labels.shape}"
        )
    found, which = np.unique(labels, return_inverse=True)
    colours = class_colours(found)
    names = [classes[i] if classes and 0 <= i < len(classes) else str(i) for i in found.tolist()]
    names = [plain(name)[:LONGEST_NAME] for name in names[:MOST_CLASSES]]
    columns = -(-len(names) // CLASSES_IN_A_COLUMN)
    width = 6.2 + columns * (0.5 + 0.07 * max(map(len, names), default=0))
    figure, (axes,) = _panels(1, 1, width, 6)
    # In the order of the data, so that no class lies above the others.
    axes.scatter(codes[:, 0], codes[:, 1], s=5, c=colours[which], alpha=0.6, linewidths=0)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel="z[0]", ylabel="z[1]")
    axes.set_title(fill(plain(title), 80), parse_math=False)
    handles = [axes.scatter([], [], s=5, color=colour) for colour in colours[: len(names)]]
    heading = "class" if len(names) == len(found) else f"class (the first {len(names)})"
    legend = figure.legend(
        handles, map(str, range(len(names))), loc="outside right upper", title=heading,
        ncols=columns, markerscale=3, fontsize=8,
    )  # fmt: skip
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=name, parse_math=False)  # $ and _ have no meaning in a name
    save("code_scatter", figure, path)


def _panels(
    rows: int, columns: int, width: float, height: float, **shared: Any
) -> tuple[Figure, list[Any]]:
    """A figure of this size in inches, and its axes, row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = [*figure.subplots(rows, columns, squeeze=False, **shared).flat]
    for axes in panels:
        axes.grid(alpha=0.3)
    return figure, panels


def save(name: str, figure: Figure, path: Path) -> None:
    """Write a figure to a PNG, whole or not at all."""
    check_path(name, path)
    for axes in figure.axes:
        axes.title.set_fontsize(9)
    with warnings.catch_warnings(), whole_file(path) as file:
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # it becomes a box
        figure.savefig(file, format="png", dpi=120)


def class_colours(labels: np.ndarray) -> np.ndarray:
    """A colour for each label: matplotlib's ten for 0 to 9, otherwise hues all around the circle,
    in turn bright, pale and dark, so that neighbours differ."""
    if not len(labels) or (labels.min() >= 0 and labels.max() < 10):
        return np.array([to_rgb(f"C{label}") for label in labels]).reshape(-1, 3)
    kinds = np.array([(1, 0.9), (0.45, 0.95), (0.9, 0.5)])  # saturation, value
    turn, kind = np.divmod(np.arange(len(labels)), len(kinds))
    hues = (turn + kind / len(kinds)) / (turn[-1] + 1)
    return hsv_to_rgb(np.column_stack([hues, kinds[kind]]))
