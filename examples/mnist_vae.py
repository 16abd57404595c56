"""Train a VAE on MNIST with gradients written by hand
=======================================================

Here is the whole training loop, and what the model has learned at its end. Without MNIST and
without a network it trains on digits drawn from fonts, and says so. The results are in runs/mnist;
`scratchvae evaluate`, `sample`, `interpolate` and others read them again.

.. code-block:: bash

    python examples/mnist_vae.py                       # fully connected, the quickest
    python examples/mnist_vae.py --model conv          # convolutional
    python examples/mnist_vae.py --latent-dim 2        # also draws the latent plane
"""

import argparse
import math
import sys
from copy import deepcopy

import numpy as np

import scratchvae as sv
from scratchvae.runs import progress, tell

# %%
# The options. A notebook has no command line: write them between the brackets, as in
# `["--epochs", "1"]`.
arguments = [] if "kernel_launcher" in sys.argv[0] else sys.argv[1:]
parser = argparse.ArgumentParser(
    description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
)
option = parser.add_argument
option("--model", choices=["mlp", "conv", "ae"], default="mlp", help="model to train")
option("--latent-dim", type=int, default=20, help="length of a code z")
option("--beta", type=float, default=argparse.SUPPRESS, help="KL weight (default: 1, the ELBO)")
datasets = ["mnist", "fashion-mnist", "glyphs"]
option("--dataset", dest="data", choices=datasets, default="mnist", help="images to train on")
option("--data-dir", help="look for the four IDX files in this folder and nowhere else")
option("--epochs", type=int, default=10, help="passes over the training images")
option("--batch-size", type=int, default=128, help="images in a training step")
option("--lr", type=float, default=1e-3, help="learning rate of Adam")
option("--seed", type=int, default=0, help="seed of the weights, the order and the noise")
option("--engine", choices=["auto", "numpy", "numba", "cuda"], default="auto", help="see README")
option("--tf32", action="store_true", help="cuda: faster, less precise products")
option("--out", default="runs/mnist", help="folder for the results")
options = vars(parser.parse_args(arguments))
out = options.pop("out")

# %%
# Everything that can fail should fail before the training: a wrong option, missing data, a folder
# that cannot be written.
with sv.runs.errors_in_one_line(parser, OSError, ValueError, RuntimeError):
    config = sv.runs.Config(**options)
    engine = sv.use(config.engine, tf32=config.tf32)
    data = sv.data.load_or_glyphs(config.data, config.data_dir)
    run = sv.runs.begin(out, config, data)

# %%
# The model, the optimizer, and the random generators: one for each purpose.
model = sv.models.build(config.model, **config.model_options())
optimizer = sv.optim.Adam(model, lr=config.lr)
rngs = sv.train.streams(config.seed)
images, batch_size = data.train_images, config.batch_size
tell(
    f"{config.model}: {model.flat_value.size:,} parameters, engine {engine}; {data.name}: "
    f"{len(images):,} training and {len(data.test_images):,} test images; losses in "
    f"{model.loss_unit}"
)

# %%
# The training. A step has four calls: set the gradients to zero, compute the loss (forward),
# compute the gradients (backward), update the weights.
history = []
with sv.runs.errors_in_one_line(parser, FloatingPointError, MemoryError):
    for epoch in range(1, config.epochs + 1):
        sums, seen = np.zeros(3), 0
        batches = sv.data.batches(images, batch_size, rngs.shuffle, model.data_range)
        steps = math.ceil(len(images) / batch_size)
        bar = progress(batches, f"epoch {epoch:2}", total=steps)
        for x in bar:
            x = sv.asarray(x)  # (N, 1, 28, 28); on the GPU if the engine is cuda
            eps = model.noise(len(x), rngs.noise)  # (N, latent_dim), standard normal

            optimizer.zero_grad()
            losses = model.loss(x, eps)  # forward: total, reconstruction, kl
            model.backward()  # adds d(total) to the gradient of every parameter
            optimizer.step()  # Adam: see adam_step in scratchvae/optim.py

            sums += len(x) * np.array([float(loss) for loss in losses])
            seen += len(x)
            bar.set_postfix(loss=f"{sums[0] / seen:.2f}")

        train = sv.ops.Losses(*sums / seen)  # means over an epoch in which the weights changed
        # The same noise in every epoch, so that the epochs compare.
        test = sv.train.evaluate_sampled(model, data.test_images, deepcopy(rngs.test))
        words = (sv.train.in_words(losses, kl=config.model != "ae") for losses in (train, test))
        tell("epoch {:2}  train {}  test {}".format(epoch, *words))
        if not math.isfinite(train.total + test.total):
            raise FloatingPointError(f"the loss is {train.total}: try a smaller --lr")
        history.append(sv.train.history_line(train, test))

neg_elbo = test.reconstruction + test.kl if config.model != "ae" else None
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

result = f"squared error {test.total:.2f} per image"
if neg_elbo is not None:
    result = f"-ELBO {neg_elbo:.2f} nats per image, one sampled z each"
tell(f"test {result} ({data.name}); weights, metrics and pictures are in {out}")

# %%
# A notebook shows the pictures:
sv.plots.Pictures(out)
