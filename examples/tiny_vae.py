"""Train a VAE of 40,289 parameters that still draws digits
============================================================

It is the smallest of this repository. Without MNIST and without a network it trains on digits drawn
from fonts, and says so.

.. code-block:: bash

    python examples/tiny_vae.py
    python examples/tiny_vae.py --latent-dim 2         # 12,641 parameters; draws the latent plane
"""

import argparse
import sys
from copy import deepcopy

import numpy as np

import scratchvae as sv
from scratchvae.runs import tell

# %%
# The options. A notebook has no command line: write them between the brackets, as in
# `["--epochs", "1"]`.
arguments = [] if "kernel_launcher" in sys.argv[0] else sys.argv[1:]
parser = argparse.ArgumentParser(
    description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
)
option = parser.add_argument
option("--latent-dim", type=int, default=20, help="length of a code z")
option("--data-dir", help="look for the four IDX files in this folder and nowhere else")
option("--epochs", type=int, default=10, help="passes over the training images")
option("--batch-size", type=int, default=128, help="images in a training step")
option("--lr", type=float, default=1e-3, help="learning rate of Adam")
option("--seed", type=int, default=0, help="seed of the weights, the order and the noise")
option("--engine", choices=["auto", "numpy", "numba", "cuda"], default="auto", help="see README")
option("--tf32", action="store_true", help="cuda: faster, less precise products")
option("--out", default="runs/tiny", help="folder for the results")
options = vars(parser.parse_args(arguments))
out = options.pop("out")

# %%
# Everything that can fail should fail before the training: a wrong option, missing data, a folder
# that cannot be written.
with sv.runs.errors_in_one_line(parser, OSError, ValueError, RuntimeError):
    config = sv.runs.Config(model="tiny", **options)
    sv.use(config.engine, tf32=config.tf32)
    data = sv.data.load_or_glyphs("mnist", config.data_dir)
    run = sv.runs.begin(out, config, data)

# %%
# The layers, in the order of the forward pass.
model = sv.models.build("tiny", latent_dim=config.latent_dim, seed=config.seed)
optimizer = sv.optim.Adam(model, lr=config.lr)
tell(sv.models.inspect.summary(model))

# %%
# The training.
rngs, history = sv.train.streams(config.seed), []
with sv.runs.errors_in_one_line(parser, FloatingPointError, MemoryError):
    for epoch in range(1, config.epochs + 1):
        train = sv.train.train_epoch(  # the inner loop of examples/mnist_vae.py
            model, optimizer, data.train_images, config.batch_size, rngs.shuffle, rngs.noise,
            f"epoch {epoch:2}",
        )  # fmt: skip
        test = sv.train.evaluate_sampled(model, data.test_images, deepcopy(rngs.test))
        tell(f"epoch {epoch:2}  train {sv.train.in_words(train)}  test {sv.train.in_words(test)}")
        history.append(sv.train.history_line(train, test))

neg_elbo = test.reconstruction + test.kl
metrics = sv.runs.save_results(run, model, data.test_images, history, test_neg_elbo=neg_elbo)

# %%
# Pictures: the losses, test images and their reconstructions, decoded codes z ~ N(0, I), and the
# way from the code of one image to that of another.
few = data.test_images[sv.data.spread(12, len(data.test_images))]  # across the list
x = next(sv.data.batches(few, 12, data_range=model.data_range))
mu = sv.evaluation.latents.posterior_codes(model, x)  # (12, *latent_shape)
sv.plots.loss_curves(history, run.path / "loss.png", model.loss_unit)
sv.plots.reconstructions(model, x[:8], run.path / "reconstructions.png")
sv.plots.samples(model, model.noise(64, rngs.pictures), run.path / "samples.png")
if end := len(x) // 2 * 2:  # pairs 0-1, 2-3, ...
    z = sv.evaluation.latents.line(mu[:end:2], mu[1:end:2], np.linspace(0, 1, 10))
    sv.plots.interpolation(model, z, run.path / "interpolation.png")
if model.latent_shape == (2,):
    sv.plots.manifold(model, run.path / "manifold.png")
tell(
    f"test -ELBO {neg_elbo:.2f} nats per image, one sampled z each ({data.name}); "
    f"weights, metrics and pictures are in {out}"
)

# %%
# A notebook shows the pictures:
sv.plots.Pictures(out)
