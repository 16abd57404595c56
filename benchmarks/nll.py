"""-log p(x) of a trained `conv` by importance sampling, compared with PyTorch on the same noise.

    scratchvae train conv --binarize --epochs 15 --out runs/binary
    python benchmarks/nll.py runs/binary --images 200

PyTorch's side does not use likelihood.py: its densities come from torch.distributions, its model
from tests/torch_models.py. Both compute in float32 and sum in float64. The exit status is 1 if the
means over the images differ by more than 1e-3 nats, or if with more samples the mean rises by more
than its standard error.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from their_models import build
from torch.distributions import Normal
from torch.nn import functional as F

from scratchvae.evaluation.likelihood import importance_curve, powers_of_ten
from scratchvae.runs import open_run

TOLERANCE = 1e-3  # nats
CHUNK = 500  # samples that PyTorch decodes at once


@torch.no_grad()
def theirs(
    weights: dict[str, np.ndarray], images: np.ndarray, at: list[int], rng: np.random.Generator
) -> Any:
    """-log p(x) of each image from its first k samples: (len(at), N)."""
    model = build("conv", None)
    model.load_state_dict({name: torch.tensor(a) for name, a in weights.items()})
    found, prior = [], Normal(0.0, 1.0)
    for image in images:
        x = torch.tensor(image[None, None] // 255).float()
        mu, logvar = model.encode(x)
        q, log_w = Normal(mu, torch.exp(logvar / 2)), []
        eps = torch.tensor(rng.standard_normal((at[-1], mu.shape[1]), "float32"))
        for part in eps.split(CHUNK):
            z = mu + q.scale * part
            targets = x.expand(len(z), -1, -1, -1)
            error = F.binary_cross_entropy_with_logits(model.decode(z), targets, reduction="none")
            log_ratio = (prior.log_prob(z) - q.log_prob(z)).sum(1)
            log_w.append((log_ratio - error.sum((1, 2, 3))).double())
        log_weights = torch.cat(log_w)
        found.append([math.log(k) - log_weights[:k].logsumexp(0).item() for k in at])
    return np.array(found).T


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run of conv with --binarize")
    parser.add_argument("--images", type=int, default=200, help="the first so many test images")
    parser.add_argument("--samples", type=int, default=5000, help="for each image")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    args = parser.parse_args()
    run = open_run(args.run)
    if run.config.model != "conv" or not run.config.binarize:
        parser.error(f"{args.run}: expected a run of conv with --binarize")
    images = run.test_images()[: args.images]
    at = powers_of_ten(args.samples)

    start = time.perf_counter()
    ours = importance_curve(run.model, images, at, np.random.default_rng(args.seed))
    middle = time.perf_counter()
    values = theirs(run.model.state_dict(), images, at, np.random.default_rng(args.seed))
    end = time.perf_counter()

    print(f"{run.weights}, {len(images)} binary test images")
    print("samples   scratchvae, nats     PyTorch    difference   by more samples")
    failed, before = False, None
    for k, theirs_k in zip(at, values, strict=True):
        mine = ours[k]
        difference = mine.value - theirs_k.mean()
        change = "" if before is None else f"{mine.value - before:+.3f}"
        rises = before is not None and mine.value - before > mine.standard_error
        failed |= abs(difference) > TOLERANCE or rises
        print(
            f"{k:7,}   {mine.value:.3f} ± {mine.standard_error:.3f}   {theirs_k.mean():10.3f}   "
            f"{difference:+.1e}   {change:>10}"
        )
        before = mine.value
    print(f"seconds: scratchvae {middle - start:.0f}, PyTorch {end - middle:.0f}")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
