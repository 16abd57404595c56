"""Values on the command line. An input is the arguments, each ended by a NUL.

For all of them a command must answer, or reject them in one line with status 2. No command can do
any work here, because there are neither data nor runs.
"""

import contextlib
import io
import os
from functools import cache

from mutating import mutated

from scratchvae.__main__ import main

MEGABYTES = 300
VALUES = (
    *("0", "1", "-1", "0.5", "-0", "1e400", "nan", "inf", "-inf", "1_000", "\u0663", "0x10", "1e3"),
    *("9" * 30, "9" * 5000, "1.5", "", " ", "mlp", "adam", "all", "--", "-", "--help", "@x", "%s"),
    *("../..", "/dev/null", "/proc/self/mem", "~nobody", "images:", "images:nowhere", "glyph"),
    *("1,2,3", ",", "1,,2", "1,-2", "\u202e", "\udcff", "a\nb", "x" * 3000, "None", "True"),
)
COMMANDS = {
    "train": (
        *("mlp", "skip", "--out", "--resume", "--config", "--data", "--data-dir", "--latent-dim"),
        *("--skips", "--latent", "--epochs", "--batch-size", "--seed", "--dtype", "--optimizer"),
        *("--lr", "--momentum", "--weight-decay", "--lr-schedule", "--lr-decay", "--lr-warmup"),
        *("--clip-norm", "--kl-weight", "--beta", "--kl-schedule", "--kl-warmup", "--kl-cycles"),
        *("--free-bits", "--binarize", "--validation", "--patience", "--checkpoint-every"),
        *("--keep", "--pictures", "--quiet", "--json"),
    ),
    "xray": ("mlp", "tiny", "--image", "--batch", "--seed", "--data", "--out", "--open"),
    "summary": ("mlp", "tiny", "--latent-dim", "--skips", "--latent", "--image-shape"),
    "check": ("--method", "--dtype", "--seed", "nothing"),
    "kernels": ("surplus",),
    "data": ("list", "verify", "fetch", "--data-dir", "--json", "images:nowhere"),
}


@cache
def seeds():
    lines = [
        ["train", "mlp", "--data", "images:nowhere"],
        ["train", "mlp", "--data", "images:nowhere", "--lr", "0.1"],
        ["train", "--resume", "nowhere"],
        ["kernels"],
        ["summary", "tiny"],
        ["summary", "tiny", "--latent-dim", "3"],
        ["data", "verify", "images:nowhere"],
    ]
    return [_joined(line) for line in lines]


def _joined(words):
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def build(random):
    """A command with some of its options, which have arbitrary values."""
    command = random.choice([*COMMANDS])
    words = [command]
    for _ in range(random.randrange(6)):
        words.append(random.choice(COMMANDS[command]))
        if random.random() < 0.8:
            words.append(random.choice(VALUES))
    if command in ("train", "xray"):
        words += ["--data", "images:nowhere"]
    content = _joined(words)
    return mutated(content, random) if random.random() < 0.2 else content


def parser(folder):
    """A function of a file: True for status 0, False for one line and status 2."""
    os.chdir(folder)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    os.environ.pop("SCRATCHVAE_DATA", None)

    def read(path):
        words = [os.fsdecode(word) for word in path.read_bytes().split(b"\0")[:-1]]
        nowhere = words[:1] not in (["train"], ["xray"]) or words[-2:] == [
            "--data",
            "images:nowhere",
        ]
        if not nowhere or "fetch" in words:  # these would start to work
            return True
        here, out, err = sorted(os.listdir(folder)), io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = main(words)
        except SystemExit as end:
            status = end.code
        text = err.getvalue()
        assert "Traceback" not in text and "internal error" not in text, (words, text)
        assert sorted(os.listdir(folder)) == here, words
        if status in (0, None):
            return True
        last = text.rstrip("\n").rpartition("\n")[2]
        assert status == 2 and "error: " in last, (status, text)
        return False

    return read
