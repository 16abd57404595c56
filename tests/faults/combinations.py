"""Random combinations of model, engine, optimizer, schedules, data and signals: runs resume bit for
bit. As many as there are kills: `python tests/faults combinations --kills 96`.
"""

import random
import signal
from functools import partial
from unittest.mock import patch

import numpy as np
from bench import Bench, write_data
from harness import FEW_CHANNELS
from instants import die
from PIL import Image

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SIZES = {"celeba": 32, "skip": 64}  # of the images; the other models have 28
BERNOULLI = ("mlp", "conv", "tiny")


def faults(benches, count, seed):
    """A fault for each combination."""
    engines = sorted({bench.engine for bench in benches.values()})
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        model = draw.choice(("mlp", "conv", "tiny", "ae", "celeba", "skip"))
        engine = draw.choice(engines)
        data = draw.choice(("digits", "arrays", "images") if model not in SIZES else ("images",))
        options = [*drawn_options(draw, model, data == "images")]
        what = f"{model}, {engine}, {data} {' '.join(options)}"
        yield what, partial(combined, number, model, engine, data, options, draw.random())


def drawn_options(draw, model, folder):
    """Words of the command line."""
    yield from ("--epochs", "3", "--batch-size", draw.choice("68"), "--seed", draw.choice("01"))
    yield from ("--checkpoint-every", draw.choice("23"), "--keep", draw.choice("123"))
    yield from ("--dtype", draw.choice(("float32", "float64")), "--pictures", draw.choice("12"))
    optimizer = draw.choice(("adam", "adamw", "sgd"))
    yield from ("--optimizer", optimizer, "--lr", draw.choice(("1e-3", "1e-4")))
    if optimizer == "sgd":
        yield from ("--momentum", "0.9")
    if draw.random() < 0.5:
        yield from ("--weight-decay", "0.01")
    if draw.random() < 0.5:
        yield from ("--clip-norm", "1")
    yield from draw.choice(
        [[], ["--lr-schedule", "cosine", "--lr-warmup", "1"], ["--lr-schedule", "exponential"]]
    )
    if model != "ae":
        yield from draw.choice([[], ["--kl-schedule", "linear", "--kl-warmup", "2"],
                                ["--kl-schedule", "cyclical", "--kl-cycles", "2"]])  # fmt: skip
    if draw.random() < 0.5:
        yield from ("--validation", "0.25")
        yield from draw.choice([[], ["--patience", "1"]])
    if model in BERNOULLI and draw.random() < 0.5:
        yield "--binarize"
    if folder and model not in SIZES:
        yield from ("--grey", "--image-size", "28")


def write(folder, kind, size):
    """Write the data of a combination; returns the options that name it."""
    rng = np.random.default_rng(size)
    images = rng.integers(0, 256, (24, size, size, 3), np.uint8)
    if kind == "digits":
        write_data(folder)
        return ["--data-dir", str(folder)]
    if kind == "arrays":
        np.save(folder / "images.npy", images[..., 0])
        return ["--data", f"arrays:{folder / 'images.npy'}"]
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")
    return ["--data", f"images:{folder}", *(["--image-size", str(size)] if size != 28 else [])]


def combined(number, model, engine, kind, options, when, benches):
    """Train undisturbed and, in another folder, with up to four interruptions. The models celeba
    and skip have few channels: how many numbers are saved makes no difference to what is saved."""
    with (
        patch("scratchvae.models.celeba.CHANNELS", FEW_CHANNELS),
        patch("scratchvae.models.skip.CHANNELS", FEW_CHANNELS),
    ):
        return _combined(number, model, engine, kind, options, when, benches)


def _combined(number, model, engine, kind, options, when, benches):
    draw, folder = random.Random(when), next(iter(benches.values())).folder / f"{number}"
    (folder / "images").mkdir(parents=True)
    data = write(folder / "images", kind, SIZES.get(model, 28))
    bench = Bench(folder, model, engine, [*data, *options])
    run, told = bench.new_run(), []
    for _ in range(4):
        number = draw.choice(SIGNALS)
        act = die if number == signal.SIGKILL else partial(signal.raise_signal, number)
        first = bench.instants.index("after load the data") + 2
        ended = bench.go_on(run, at=draw.randrange(first, len(bench.instants)), act=act)
        if ended.status == 0:  # it resumed with fewer instants than that
            break
        assert ended.status == 128 + number, ended
        told.append(number.name)
        if draw.random() < 0.4:
            break
    return ", ".join(told) or "not disturbed", bench.finish(run)
