"""Train a deep VAE with batch normalisation on colour images
==============================================================

The images have 64 x 64 pixels: faces drawn by the program, CelebA, or your own.

.. code-block:: bash

    python examples/celeba_vae.py                            # faces drawn by the program
    python examples/celeba_vae.py --data-dir celeba          # CelebA, as it is distributed
    python examples/celeba_vae.py --data-dir ~/Pictures      # any folder of images

CelebA's folder holds img_align_celeba/ and list_eval_partition.txt. Images are decoded once and
kept in the cache: the first run with a large folder takes longer.

The tutorial behind this model uses `--batch-size 128 --lr 0.005`, which is 1,272 steps an epoch
with CelebA. The 8,000 drawn faces would give 63 steps, so the default batch is smaller.
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
option("--latent-dim", type=int, default=128, help="length of a code z")
option("--kl-weight", type=float, default=0.00025, help="of the KL term, beside the mean error")
option("--data-dir", help="CelebA, or any folder of images; default: drawn faces")
option("--epochs", type=int, default=5, help="passes over the training images")
option("--batch-size", type=int, default=16, help="images in a training step")
option("--lr", type=float, default=1e-3, help="learning rate of Adam")
option("--seed", type=int, default=0, help="seed of the weights, the order and the noise")
option("--engine", choices=["auto", "numpy", "numba", "cuda"], default="auto", help="see README")
option("--tf32", action="store_true", help="cuda: faster, less precise products")
option("--out", default="runs/celeba", help="folder for the results")
options = vars(parser.parse_args(arguments))
out, folder = options.pop("out"), options.pop("data_dir")

# %%
# Everything that can fail should fail before the training: a wrong option, missing data, a folder
# that cannot be written.
with sv.runs.errors_in_one_line(parser, OSError, ValueError, RuntimeError):
    images = "faces" if folder is None else f"images:{folder}"
    config = sv.runs.Config(model="celeba", data=images, **options)
    sv.use(config.engine, tf32=config.tf32)
    data = sv.data.load(images)
    run = sv.runs.begin(out, config, data)

# %%
# The model and its optimizer.
model = sv.models.build("celeba", **config.model_options())
optimizer = sv.optim.Adam(model, lr=config.lr)
tell(
    f"celeba: {model.flat_value.size:,} parameters; {data.name}: {len(data.train_images):,} "
    f"training and {len(data.test_images):,} test images; losses in {model.loss_unit}"
)

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

metrics = sv.runs.save_results(run, model, data.test_images, history)

# %%
# Pictures: the losses, test images and their reconstructions, decoded codes z ~ N(0, I), and the
# way from the code of one image to that of another.
few = data.test_images[sv.data.spread(12, len(data.test_images))]  # across the list
x = next(sv.data.batches(few, 12, data_range=model.data_range))
mu = sv.evaluation.latents.posterior_codes(model, x)  # (12, *latent_shape)
sv.plots.loss_curves(history, run.path / "loss.png", model.loss_unit)
sv.plots.reconstructions(model, x[:8], run.path / "reconstructions.png")
sv.plots.samples(model, model.noise(64, rngs.pictures), run.path / "samples.png")
if end := len(x) // 2 * 2:  # an even number
    z = sv.evaluation.latents.line(mu[:end:2], mu[1:end:2], np.linspace(0, 1, 10))
    sv.plots.interpolation(model, z, run.path / "interpolation.png")

# %%
# What the KL weight means, and the error of the reconstructions.
if config.kl_weight:
    beta = sv.loss_scales(data.test_images[0].size, mean=config.kl_weight).beta
    tell(f"KL weight {config.kl_weight:g} is beta {beta:.3f} for a decoder of unit variance")
error = sv.train.evaluate_deterministic(model, data.test_images).reconstruction
tell(
    f"test mean squared error {error:.5f} at z = mu ({data.name}); "
    f"weights, metrics and pictures are in {out}"
)

# %%
# A notebook shows the pictures:
sv.plots.Pictures(out)
