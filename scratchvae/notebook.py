"""What a Jupyter notebook shows: results as HTML tables, and saved pictures."""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from os import PathLike
from pathlib import Path

COLOURS = {  # text and background, so that they are readable in light and in dark notebooks
    "green": "color: #123d15; background: #c8e6c9",
    "yellow": "color: #4a3500; background: #ffe9a8",
    "red": "color: #7f0000; background: #ffcdd2",
}


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook: Jupyter, JupyterLab, Colab, VS Code."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def html_table(
    rows: Sequence[Sequence[object]], title: str = "", colours: Sequence[str] = ()
) -> str:
    """Cells in columns, as HTML; the first row is the heading. Everything is escaped.

    Parameters
    ----------
    rows : sequence of sequences
        The cells; their `str` is shown.
    title : str
        A line above the table.
    colours : sequence of str
        For each row below the heading, the colour in COLOURS of its last cell.
    """
    styles = dict(enumerate(colours, 1))
    lines = [f"<p><strong>{escape(title)}</strong></p>"] if title else []
    lines.append("<table>")
    for number, row in enumerate(rows):
        tag, cells = "td" if number else "th", []
        for column, cell in enumerate(row):
            style = f"text-align: {'right' if column else 'left'}; white-space: nowrap"
            if number in styles and column == len(row) - 1:
                style += f"; {COLOURS[styles[number]]}"
            cells.append(f'<{tag} style="{style}">{escape(str(cell))}</{tag}>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</table>"])


class Pictures:
    """The PNG files of a folder, in the order in which they were saved: as the last expression of a
    cell, a notebook shows them. `print` lists their paths.

    Parameters
    ----------
    folder : str or path
        Its subfolders are left out. A folder without pictures shows nothing.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.files = sorted(Path(folder).glob("*.png"), key=lambda file: file.stat().st_mtime_ns)

    def __repr__(self) -> str:
        return "\n".join(map(str, self.files))

    def _repr_html_(self) -> str:
        return "\n".join(
            f"<p>{escape(file.name)}</p>"
            f'<img alt="{escape(file.name)}" style="max-width: 100%" '
            f'src="data:image/png;base64,{b64encode(file.read_bytes()).decode()}">'
            for file in self.files
        )
