"""The page of a training step in a notebook: Jupyter, VS Code, Colab."""

from __future__ import annotations

import html
from typing import Any

from ..models import Model
from ..optim import Optimizer
from .page import page

# Links within a frame's text are relative to the notebook's address, unless its text has its own.
BASE = '<base href="about:srcdoc">'


class Shown:
    """A page that a notebook draws in a frame if it is the value of a cell. `page` is its text."""

    def __init__(self, page: str, title: str, height: int) -> None:
        self.page, self.title, self.height = page, title, height

    def _repr_html_(self) -> str:
        """The page in a frame of its own, which keeps its style and the notebook's apart."""
        text = self.page.replace("<head>", f"<head>{BASE}", 1)
        return (
            f'<iframe title="{html.escape(self.title)}" srcdoc="{html.escape(text)}" '
            f'style="width: 100%; height: {self.height}px; border: 0"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<{self.title}: {len(self.page) / 1e6:.1f} MB of HTML, drawn by a notebook>"


def show(
    model: Model,
    x: Any,
    eps: Any = None,
    optimizer: Optimizer | None = None,
    height: int = 800,
) -> Shown:
    """A training step of the model as a page in a notebook.

    Parameters
    ----------
    model, x, eps, optimizer
        See `record`.
    height : int
        Of the frame, in pixels.

    Returns
    -------
    Shown
        Make it the last expression of a cell. Its attribute `page` is the text of an HTML file. A
        notebook that you save with its output contains the page.
    """
    text = page(model, x, eps, optimizer)
    return Shown(text, f"X-ray of a training step of {type(model).__name__}", height)
