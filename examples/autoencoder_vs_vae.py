"""Why is an autoencoder not a generative model?
=================================================

To see why, train one beside a VAE, and sample from both.

.. code-block:: bash

    python examples/autoencoder_vs_vae.py

The two models have the same layers, except for the second head of the VAE's encoder, and see the
same images. Both reconstruct them. Then each decodes z ~ N(0, I), without any image. The KL term
of the VAE has moved its codes to where such a z lies; nothing in the loss of the autoencoder says
where its codes lie. For comparison, the autoencoder also decodes draws from a Gaussian that has the
mean and the standard deviation of its codes.
"""

import argparse
import sys
from copy import deepcopy
from pathlib import Path

import scratchvae as sv
from scratchvae.runs import tell

SHOWN = 16

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
option("--epochs", type=int, default=5, help="passes over the training images")
option("--batch-size", type=int, default=128, help="images in a training step")
option("--lr", type=float, default=1e-3, help="learning rate of Adam")
option("--seed", type=int, default=0, help="seed of the weights, the order and the noise")
option("--engine", choices=["auto", "numpy", "numba", "cuda"], default="auto", help="see README")
option("--tf32", action="store_true", help="cuda: faster, less precise products")
option("--out", default="runs/autoencoder_vs_vae", help="folder for the results")
options = vars(parser.parse_args(arguments))
out = Path(options.pop("out"))

# %%
# Everything that can fail should fail before the training: a wrong option, missing data, a folder
# that cannot be written.
with sv.runs.errors_in_one_line(parser, OSError, ValueError, RuntimeError):
    configs = {name: sv.runs.Config(model=name, **options) for name in ("ae", "mlp")}
    sv.use(options["engine"], tf32=options["tf32"])
    data = sv.data.load_or_glyphs("mnist", options["data_dir"])
    for name in configs:
        sv.runs.RunFolder(out / name).check_no_training()
    runs = {name: sv.runs.begin(out / name, config, data) for name, config in configs.items()}

# %%
# The training of both.
models = {}
with sv.runs.errors_in_one_line(parser, FloatingPointError, MemoryError):
    for name, config in configs.items():
        model = sv.models.build(name, **config.model_options())
        optimizer = sv.optim.Adam(model, lr=config.lr)
        tell(f"{name}: {model.flat_value.size:,} parameters; losses in {model.loss_unit}")
        rngs, history = sv.train.streams(config.seed), []
        for epoch in range(1, config.epochs + 1):
            train = sv.train.train_epoch(  # the inner loop of examples/mnist_vae.py
                model, optimizer, data.train_images, config.batch_size, rngs.shuffle, rngs.noise,
                f"epoch {epoch:2}",
            )  # fmt: skip
            test = sv.train.evaluate_sampled(model, data.test_images, deepcopy(rngs.test))
            words = (sv.train.in_words(losses, kl=name != "ae") for losses in (train, test))
            tell("epoch {:2}  train {}  test {}".format(epoch, *words))
            history.append(sv.train.history_line(train, test))
        sv.runs.save_results(runs[name], model, data.test_images, history)
        models[name] = model
ae, vae = models["ae"], models["mlp"]

# %%
# Where do their codes lie?
latents = sv.evaluation.latents  # codes of images, and images of codes
x = next(sv.data.batches(data.test_images, len(data.test_images)))
codes = {"autoencoder": latents.posterior_codes(ae, x), "VAE": latents.posterior_codes(vae, x)}
for name, code in codes.items():
    mean, deviation = code.mean(axis=0), code.std(axis=0)  # (latent_dim,)
    tell(
        f"codes of the test images, {name}: the dimensions have means from {mean.min():.2f} to "
        f"{mean.max():.2f}, standard deviations from {deviation.min():.2f} to {deviation.max():.2f}"
    )

# %%
# Decode codes of images, and codes that come from no image.
z = latents.prior_codes(vae, SHOWN, rngs.pictures)
mean, deviation = codes["autoencoder"].mean(axis=0), codes["autoencoder"].std(axis=0)
rows = {
    "test images": x[:SHOWN],
    "autoencoder: reconstructions": latents.decoded(ae, codes["autoencoder"][:SHOWN]),
    "VAE: reconstructions, z = mu": latents.decoded(vae, codes["VAE"][:SHOWN]),
    "VAE: z ~ N(0, I)": latents.decoded(vae, z),
    "autoencoder: the same z ~ N(0, I)": latents.decoded(ae, z),
    "autoencoder: z with mean and deviation of its codes": latents.decoded(
        ae, mean + deviation * z
    ),
}
sv.plots.image_table([*rows.values()], out / "samples.png", [*rows])
tell(f"the answer (samples.png), weights and metrics are in {out}")

# %%
# A notebook shows the picture:
sv.plots.Pictures(out)
