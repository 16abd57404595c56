"""The gallery: common mistakes, each with the test that finds it.

`scratchvae exercise --bug N` gives one to find. `python tests/mutations` plants them one by one and
prints which checks find which mistake. The files of faults/ describe one fault a paragraph:

    NAME: MODULE, judged as OP_OR_MODEL
    the mistake in words, for docs/mistakes.md
    node id of a test that must fail
    -the right text
    +the text with the mistake

MODULE may also be a file such as kernels/cuda/kl.cu. Without "judged as", no judge is asked. A
fault may consist of several changes. Paragraphs that begin with # are comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).with_name("faults")
PARAGRAPH = re.compile(r"(\S+): (\S+?)(?:, judged as (\S+))?\n(.+)\n(.+)\n((?:[-+].*\n)+)")
CHANGE = re.compile(r"((?:-.*\n)+)((?:\+.*\n)+)")


class Fault(NamedTuple):
    name: str
    module: str  # or a file: kernels/cuda/kl.cu
    changes: list[tuple[str, str]]  # the right text, and the text with the mistake
    mistake: str  # in words, for docs/mistakes.md
    killed_by: str  # node id of a test that must fail
    subject: str | None = None  # the op or model that the judges are asked about

    def planted_in(self, text: str) -> str:
        """The text of the module with the mistake."""
        for before, after in self.changes:
            text = text.replace(before, after)
        return text


def read(text: str) -> Iterator[Fault]:
    """The faults of a file."""
    for paragraph in text.strip().split("\n\n"):
        if paragraph.startswith("#"):
            continue
        if (match := PARAGRAPH.fullmatch(f"{paragraph}\n")) is None:
            raise ValueError(f"expected a fault as described in gallery.py, got\n{paragraph}")
        name, module, subject, mistake, killed_by, lines = match.groups()
        changes = [(_without_signs(before), _without_signs(after))
                   for before, after in CHANGE.findall(lines)]  # fmt: skip
        yield Fault(name, module, changes, mistake, killed_by, subject)


def _without_signs(lines: str) -> str:
    return "\n".join(line[1:] for line in lines.splitlines())


ROOMS = {
    room: [*read((FOLDER / f"{file}.txt").read_text(encoding="utf-8"))]
    for room, file in {
        "traps that peers fell into": "peers",
        "ops": "ops",
        "losses": "losses",
        "threads and memory": "threads",
        "CPU kernels": "kernels",
        "CUDA kernels": "cuda",
        "layers and models": "models",
        "optimizers, training, data": "training",
        "the gradient check itself": "checks",
    }.items()
}
GALLERY = {fault.name: fault for faults in ROOMS.values() for fault in faults}
