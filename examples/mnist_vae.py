"""Train a VAE on MNIST, gradients written by hand, and look at what it learned.

    python examples/mnist_vae.py                       # fully connected, the quickest
    python examples/mnist_vae.py --model conv
    python examples/mnist_vae.py --latent-dim 2        # draws the latent plane, too

Without MNIST and without a network it goes on with digits drawn from fonts, and says so.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

import scratchvae as sv
from scratchvae import plots
from scratchvae.checkpoint import save_weights, write_atomically
from scratchvae.data import WeightedMean, batches, load_or_glyphs
from scratchvae.train import evaluate_sampled as evaluate, random_streams, train_step


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--model", choices=["mlp", "conv", "tiny", "ae"], default="mlp", help="model to train"
    )
    parser.add_argument("--epochs", type=positive(int), default=10, help="passes over the data")
    parser.add_argument("--batch-size", type=positive(int), default=128, help="images in a step")
    parser.add_argument("--lr", type=positive(float), default=1e-3, help="Adam's learning rate")
    parser.add_argument("--latent-dim", type=positive(int), default=20, help="length of a code")
    parser.add_argument("--beta", type=float, default=1.0, help="weight of the KL term")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the run")
    parser.add_argument(
        "--dataset", choices=["mnist", "fashion-mnist", "glyphs"], default="mnist", help="pictures"
    )
    parser.add_argument(
        "--data-dir", help="folder with the four IDX files, looked into and nowhere else"
    )
    parser.add_argument(
        "--engine",
        choices=["auto", "numpy", "numba", "cuda"],
        default="auto",
        help="compute engine",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"), help="folder for results")
    args = parser.parse_args()
    if args.seed < 0:
        parser.error(f"argument --seed: must be 0 or more, got {args.seed}")
    if not 0 <= args.beta < float("inf"):
        parser.error(f"argument --beta: must be a number, 0 or more, got {args.beta}")
    if args.model == "ae" and args.beta != 1:
        parser.error("argument --beta: the autoencoder has no KL term to weight")
    return args


def main() -> None:
    args = options()
    start = time.perf_counter()
    try:
        engine = sv.use(args.engine)
        data = load_or_glyphs(args.dataset, args.data_dir)
        args.out.mkdir(parents=True, exist_ok=True)
        write_atomically(args.out / ".probe", b"")  # an unwritable folder is better known now
        (args.out / ".probe").unlink()
    except (OSError, ValueError, RuntimeError) as problem:
        stop(problem)

    # The model, its optimizer, and one stream of random numbers for each purpose.
    kl = {} if args.model == "ae" else {"kl_weight": args.beta}
    model = sv.models.build(args.model, latent_dim=args.latent_dim, seed=args.seed, **kl)
    optimizer = sv.optim.Adam(model, lr=args.lr)
    shuffle_rng, noise_rng, picture_rng, test_rng = random_streams(args.seed, 4)

    print(
        f"{args.model}: {model.flat_value.size:,} parameters, engine {engine}; {data.name}: "
        f"{len(data.train_images):,} training and {len(data.test_images):,} test images"
    )

    # Train. Every epoch sees each image once; the test noise is the same after every epoch.
    history = []
    for epoch in range(1, args.epochs + 1):
        mean = WeightedMean[sv.ops.Losses]()
        steps = batches(data.train_images, args.batch_size, shuffle_rng, model.data_range)
        count = -(-len(data.train_images) // args.batch_size)
        for x in tqdm(steps, f"epoch {epoch:2}", total=count, leave=False, disable=None):
            eps = model.noise(len(x), noise_rng)
            losses = train_step(model, optimizer, sv.asarray(x), eps)
            mean.add(losses, len(x))
        train = mean.mean()
        test = evaluate(model, data.test_images, deepcopy(test_rng))
        print(f"epoch {epoch:2}  train {in_words(train)}  test {in_words(test)}", flush=True)
        if not math.isfinite(train.total + test.total):
            stop(f"the loss is {train.total} after epoch {epoch}: try a smaller --lr")
        history.append(
            {f"train_{name}": value for name, value in train._asdict().items()}
            | {f"test_{name}": value for name, value in test._asdict().items()}
        )

    # Weights and numbers. The -ELBO is reconstruction + KL, whatever beta weighted the KL with.
    neg_elbo = None if args.model == "ae" else test.reconstruction + test.kl
    metrics = {
        "dataset": data.name,
        "model": args.model,
        "epochs": args.epochs,
        "batch_size": args.batch_size,
        "lr": args.lr,
        "latent_dim": args.latent_dim,
        "beta": None if args.model == "ae" else args.beta,
        "seed": args.seed,
        "engine": engine,
        "test_neg_elbo": neg_elbo,
        "test_reconstruction": test.reconstruction,
        "test_kl": test.kl,
        "seconds": round(time.perf_counter() - start, 1),
        "history": history,
    }
    save_weights(
        model, args.out / "weights.safetensors", model=args.model, latent_dim=args.latent_dim
    )
    write_atomically(args.out / "metrics.json", (json.dumps(metrics, indent=1) + "\n").encode())

    # Pictures.
    rows = min(6, len(data.test_images) // 2)
    x = next(batches(data.test_images[: 2 * rows], 2 * rows, data_range=model.data_range))
    z = model.noise(64, picture_rng)
    unit = "squared error per image" if args.model == "ae" else "nats per image"
    plots.loss_curves(history, args.out / "loss.png", unit)
    plots.reconstructions(model, sv.asarray(x[:8]), args.out / "reconstructions.png")
    plots.image_grid(model.generate(z), args.out / "samples.png", 8, model.data_range)
    plots.interpolation(model, sv.asarray(x), args.out / "interpolation.png")
    if args.latent_dim == 2:
        plots.manifold(model, args.out / "manifold.png")

    result = (
        f"test squared error {test.reconstruction:.2f} per image"
        if neg_elbo is None
        else f"test -ELBO {neg_elbo:.2f} nats per image"
    )
    print(f"{result} ({data.name}); pictures, weights and metrics are in {args.out}")


def stop(problem: object) -> NoReturn:
    print(f"mnist_vae.py: error: {problem}", file=sys.stderr)
    sys.exit(2)


def in_words(losses: sv.ops.Losses) -> str:
    parts = f" (recon {losses.reconstruction:6.2f}, KL {losses.kl:5.2f})" if losses.kl else ""
    return f"{losses.total:7.2f}{parts}"


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """An argparse type: a number of this kind above zero."""

    def parse(text: str) -> float:
        if not 0 < (value := kind(text)) < float("inf"):
            raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse says "invalid int value"
    return parse


if __name__ == "__main__":
    main()
