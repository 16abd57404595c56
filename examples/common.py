"""What the examples share: their options, the training loop, and what a run leaves behind."""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn

import scratchvae as sv
from scratchvae import plots
from scratchvae.commands.options import at_least, engine_options, positive
from scratchvae.data import Dataset, batches
from scratchvae.optim import Optimizer
from scratchvae.output import write_atomically
from scratchvae.train import (
    evaluate_deterministic,
    evaluate_sampled,
    in_words,
    streams,
    train_epoch,
)

START = time.perf_counter()


def options(doc: str, out: str, epochs: int, batch_size: int, lr: float) -> argparse.ArgumentParser:
    """The options that every example has; the first line of its docstring is its description."""
    parser = argparse.ArgumentParser(
        description=doc.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--epochs", type=positive(int), default=epochs, help="passes over the data")
    add("--batch-size", type=positive(int), default=batch_size, help="images in a step")
    add("--lr", type=positive(float), default=lr, help="the optimizer's learning rate")
    add("--seed", type=at_least(0), default=0, help="random seed of the run")
    engine_options(parser)
    add("--out", type=Path, default=Path(out), help="folder for results")
    return parser


def prepare(args: argparse.Namespace, load: Callable[[], Dataset]) -> Dataset:
    """Choose the engine, load the data, make the folder: what can fail fails before training."""
    try:
        args.engine = sv.use(args.engine, tf32=args.tf32)
        data = load()
        args.out.mkdir(parents=True, exist_ok=True)
        write_atomically(args.out / ".probe", b"")  # an unwritable folder is better known now
        (args.out / ".probe").unlink()
    except (OSError, ValueError, RuntimeError) as problem:
        stop(problem)
    except KeyboardInterrupt:
        stop("interrupted before training; images decoded so far are kept for the next run")
    return data


def fit(
    args: argparse.Namespace, model: sv.models.Model, optimizer: Optimizer, data: Dataset
) -> list[dict[str, float]]:
    """Train, and print how it goes. Returns the losses of each epoch, all with a sampled z."""
    print(
        f"{type(model).__name__}: {model.flat_value.size:,} parameters, engine {args.engine}"
        f"{f', TF32 {_on(args.tf32)}' if args.engine == 'cuda' else ''}; "
        f"{data.name}: {len(data.train_images):,} training and {len(data.test_images):,} test "
        f"images; losses in {model.loss_unit}{', z sampled' if has_noise(model) else ''}"
    )
    # One stream of random numbers for each purpose; the test noise is the same after every epoch.
    rngs = streams(args.seed)
    history = []
    for epoch in range(1, args.epochs + 1):
        try:
            train = train_epoch(
                model, optimizer, data.train_images, args.batch_size, rngs.shuffle, rngs.noise,
                f"epoch {epoch:2}",
            )  # fmt: skip
            test = evaluate_sampled(model, data.test_images, deepcopy(rngs.test))
        except (FloatingPointError, MemoryError) as problem:
            stop(problem)
        except KeyboardInterrupt:
            stop(f"interrupted in epoch {epoch}, nothing is kept; `scratchvae train` can go on")
        print(f"epoch {epoch:2}  train {in_words(train)}  test {in_words(test)}", flush=True)
        if not math.isfinite(train.total + test.total):
            stop(f"the loss is {train.total} after epoch {epoch}: try a smaller --lr")
        history.append(
            {f"train_{name}": value for name, value in train._asdict().items()}
            | {f"test_{name}": value for name, value in test._asdict().items()}
        )
    return history


def leave(
    args: argparse.Namespace,
    model: sv.models.Model,
    data: Dataset,
    history: list[dict[str, float]],
) -> dict[str, Any]:
    """Weights, numbers and pictures into the folder `args.out`; returns the numbers."""
    name = type(model).__name__.lower()  # as `build` calls it
    facts = {"model": name, **{k: v for k, v in vars(args).items() if k != "out"}}
    sampled = {part: history[-1][f"test_{part}"] for part in sv.ops.Losses._fields}
    bernoulli = model.decoder_distribution == "Bernoulli"
    metrics = {
        **facts,
        "dataset": data.name,
        # The -ELBO is reconstruction + KL, whatever beta weighted the KL with, and it is sampled.
        "test_neg_elbo": sampled["reconstruction"] + sampled["kl"] if bernoulli else None,
        "test_sampled": sampled if has_noise(model) else None,
        "test_deterministic": evaluate_deterministic(model, data.test_images)._asdict(),
        "seconds": round(time.perf_counter() - START, 1),
        "history": history,
    }
    sv.save_weights(model, args.out / "weights.safetensors", **facts)
    write_atomically(args.out / "metrics.json", (json.dumps(metrics, indent=1) + "\n").encode())

    shown = data.test_images[:12]
    x = sv.asarray(next(batches(shown, len(shown), data_range=model.data_range)))
    plots.loss_curves(history, args.out / "loss.png", model.loss_unit)
    plots.reconstructions(model, x[:8], args.out / "reconstructions.png")
    samples = model.generate(model.noise(64, streams(args.seed).pictures))
    plots.image_grid(samples, args.out / "samples.png", 8, model.data_range)
    if len(x) > 1:
        plots.interpolation(model, x[: len(x) // 2 * 2], args.out / "interpolation.png")
    if model.latent_shape == (2,):
        plots.manifold(model, args.out / "manifold.png")
    return metrics


def has_noise(model: sv.models.Model) -> bool:
    """Whether z is drawn: losses with a sampled z, and those at z = mu, are two things then."""
    return isinstance(model, sv.models.VAE)


def _on(switch: bool) -> str:
    return "on" if switch else "off"


def stop(problem: object) -> NoReturn:
    """End the program with one line on stderr and exit status 2."""
    print(f"{Path(sys.argv[0]).name}: error: {problem}", file=sys.stderr)
    sys.exit(2)
