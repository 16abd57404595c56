"""The gallery: common mistakes, each with the test that finds it.

`python tests/mutations` plants them one by one and prints which checks find which mistake. The
files of faults/ describe one fault a paragraph:

    NAME: MODULE, judged as OP_OR_MODEL
    the mistake in words, for docs/mistakes.md
    node id of a test that must fail
    -the right text
    +the text with the mistake

MODULE may also be a file such as kernels/cuda/kl.cu. Without "judged as", no judge is asked. A
fault may consist of several changes. Paragraphs that begin with # are comments.
"""

import re
from pathlib import Path

from planting import Fault

FOLDER = Path(__file__).with_name("faults")
PARAGRAPH = re.compile(r"(\S+): (\S+?)(?:, judged as (\S+))?\n(.+)\n(.+)\n((?:[-+].*\n)+)")
CHANGE = re.compile(r"((?:-.*\n)+)((?:\+.*\n)+)")


def read(text):
    """The faults of a file."""
    for paragraph in text.strip().split("\n\n"):
        if paragraph.startswith("#"):
            continue
        if (match := PARAGRAPH.fullmatch(f"{paragraph}\n")) is None:
            raise ValueError(f"expected a fault as described in gallery.py, got\n{paragraph}")
        name, module, subject, mistake, killed_by, lines = match.groups()
        changes = [tuple(map(_without_signs, change)) for change in CHANGE.findall(lines)]
        yield Fault(name, module, changes, mistake, killed_by, subject)


def _without_signs(lines):
    return "\n".join(line[1:] for line in lines.splitlines())


ROOMS = {
    room: [*read((FOLDER / f"{file}.txt").read_text())]
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
