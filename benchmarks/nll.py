"""-log p(x) by importance sampling of a trained `conv`, beside PyTorch: same weights, same noise.

    scratchvae train conv --binarize --epochs 15 --out runs/binary
    python benchmarks/nll.py runs/binary --images 200

PyTorch's side uses nothing of likelihood.py: it takes densities from torch.distributions and its
own layers. Both work in float32 and add up in float64. The exit status is 1 if a mean over the
images differs by more than 1e-3 nats, or if more samples give a larger one beyond its error.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributions import Normal
from torch.nn import functional as F

from scratchvae.evaluation.likelihood import importance_curve, powers_of_ten
from scratchvae.runs import open_run

TOLERANCE = 1e-3  # nats
CHUNK = 500  # samples that PyTorch decodes at once


def decode(w: dict[str, Any], z: Any) -> Any:
    """z (K, 20) -> logits (K, 1, 28, 28)."""
    h = F.relu(F.linear(z, w["fc2.weight"], w["fc2.bias"]))
    h = F.relu(F.linear(h, w["fc3.weight"], w["fc3.bias"])).view(-1, 64, 7, 7)
    h = F.relu(F.conv_transpose2d(h, w["deconv1.weight"], w["deconv1.bias"], 2, 1))
    return F.conv_transpose2d(h, w["deconv2.weight"], w["deconv2.bias"], 2, 1)


def posterior(w: dict[str, Any], x: Any) -> Normal:
    """q(z|x) of images (N, 1, 28, 28)."""
    h = F.relu(F.conv2d(x, w["conv1.weight"], w["conv1.bias"], 2, 1))
    h = F.relu(F.conv2d(h, w["conv2.weight"], w["conv2.bias"], 2, 1)).flatten(1)
    h = F.relu(F.linear(h, w["fc1.weight"], w["fc1.bias"]))
    logvar = F.linear(h, w["fc_logvar.weight"], w["fc_logvar.bias"])
    return Normal(F.linear(h, w["fc_mu.weight"], w["fc_mu.bias"]), torch.exp(logvar / 2))


@torch.no_grad()
def theirs(w: dict[str, Any], images: np.ndarray, at: list[int], rng: np.random.Generator) -> Any:
    """-log p(x) of each image from its first k samples: (len(at), N)."""
    found, prior = [], Normal(0.0, 1.0)
    for image in images:
        x = torch.tensor(image[None, None] // 255).float()
        q = posterior(w, x)
        eps = torch.tensor(rng.standard_normal((at[-1], q.loc.shape[1]), "float32"))
        log_w = []
        for part in eps.split(CHUNK):
            z = q.loc + q.scale * part
            error = F.binary_cross_entropy_with_logits(
                decode(w, z), x.expand(len(z), -1, -1, -1), reduction="none"
            )
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
    weights = {name: torch.tensor(a) for name, a in run.model.state_dict().items()}
    values = theirs(weights, images, at, np.random.default_rng(args.seed))
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
