"""What does the latent code of a VAE with skip connections carry?
==================================================================

This trains three models that differ only in their skips: all of them, all but the image itself, or
none. Each reconstructs test images twice, from their own codes and from noise in place of the
codes. Where the reconstruction is good and the noise changes nothing, the image has reached the
decoder through the skips and not through z: the skips leak. docs/leak.md shows a converged run. The
config of each model names the whole data set, even if `--images` trains on fewer of them.

.. code-block:: bash

    python examples/skip_vae.py                              # faces drawn by the program
    python examples/skip_vae.py --latent learned             # mu and logvar for every position
    python examples/skip_vae.py --data-dir ~/Pictures        # CelebA, or any folder of images
"""

import argparse
import json
import sys
from copy import deepcopy
from pathlib import Path

import scratchvae as sv
from scratchvae.runs import tell

TESTED, SHOWN = 200, 10

# %%
# The options. A notebook has no command line: write them between the brackets, as in
# `["--epochs", "1"]`.
arguments = [] if "kernel_launcher" in sys.argv[0] else sys.argv[1:]
parser = argparse.ArgumentParser(
    description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
)
option = parser.add_argument
option("--latent", choices=["scalar", "learned"], default="scalar", help="what mu and logvar are")
option("--images", type=int, default=1_000, help="train on at most this many images")
option("--data-dir", help="CelebA, or any folder of images; default: drawn faces")
option("--epochs", type=int, default=10, help="passes over the training images")
option("--batch-size", type=int, default=32, help="images in a training step")
option("--lr", type=float, default=1e-3, help="learning rate of AdamW")
option("--seed", type=int, default=0, help="seed of the weights, the order and the noise")
option("--engine", choices=["auto", "numpy", "numba", "cuda"], default="auto", help="see README")
option("--tf32", action="store_true", help="cuda: faster, less precise products")
option("--out", default="runs/skip", help="folder for the results")
options = vars(parser.parse_args(arguments))
out, folder, count = (options.pop(name) for name in ("out", "data_dir", "images"))
out = Path(out)

# %%
# Everything that can fail should fail before the training: a wrong option, missing data, a folder
# that cannot be written.
with sv.runs.errors_in_one_line(parser, OSError, ValueError, RuntimeError):
    if count < 1:
        raise ValueError(f"--images: expected at least 1, got {count}")
    images = "faces" if folder is None else f"images:{folder}"
    configs = {
        skips: sv.runs.Config(model="skip", data=images, skips=skips, **options)
        for skips in ("all", "deep", "none")
    }
    sv.use(options["engine"], tf32=options["tf32"])
    data = sv.data.load(images)
    # Evenly spread over the list: the first images of a folder may be alike.
    training = data.train_images[:: max(1, len(data.train_images) // count)][:count]
    tested = data.test_images[:: max(1, len(data.test_images) // TESTED)][:TESTED]
    data = sv.data.Dataset(data.name, training, tested)  # without labels and names
    for skips in configs:
        sv.runs.RunFolder(out / skips).check_no_training()
    runs = {skips: sv.runs.begin(out / skips, config, data) for skips, config in configs.items()}

# %%
# The training of each model. Then the test images are decoded from their codes, and from noise.
x = next(sv.data.batches(tested, TESTED))
rows, effects = {"test images": x[:SHOWN]}, {}
with sv.runs.errors_in_one_line(parser, FloatingPointError, MemoryError):
    for skips, config in configs.items():
        model = sv.models.build("skip", **config.model_options())
        optimizer = sv.optim.AdamW(model, lr=config.lr, weight_decay=config.weight_decay)
        tell(
            f"\nskips = {skips}: {model.flat_value.size:,} parameters; losses in {model.loss_unit}"
        )
        rngs, history = sv.train.streams(config.seed), []
        for epoch in range(1, config.epochs + 1):
            train = sv.train.train_epoch(  # the inner loop of examples/mnist_vae.py
                model, optimizer, training, config.batch_size, rngs.shuffle, rngs.noise,
                f"epoch {epoch:2}",
            )  # fmt: skip
            test = sv.train.evaluate_sampled(model, tested, deepcopy(rngs.test))
            tell(
                f"epoch {epoch:2}  train {sv.train.in_words(train)}  test {sv.train.in_words(test)}"
            )
            history.append(sv.train.history_line(train, test))
        sv.runs.save_results(runs[skips], model, tested, history)

        effects[skips] = sv.evaluation.metrics.effect_of_z(model, tested, deepcopy(rngs.pictures))
        z = sv.asnumpy(model.noise(len(x), rngs.pictures))[:SHOWN]  # the noise of effect_of_z
        rows[f"skips = {skips}: reconstructions, z = mu"] = model.reconstruct(sv.asarray(x[:SHOWN]))
        if skips != "none":
            label = f"skips = {skips}: z is noise, skips of the images above"
            rows[label] = sv.evaluation.latents.decoded(model, z, skips_from=x[:SHOWN])
        rows[f"skips = {skips}: z is noise, without skips"] = sv.evaluation.latents.decoded(
            model, z
        )

# %%
# The picture, and the same in numbers.
sv.plots.image_table([*rows.values()], out / "leak.png", [*rows])
metrics = {skips: effect._asdict() for skips, effect in effects.items()}
(out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")

variance = effects["all"].variance
tell(f"\nMean squared error of {len(x)} test images, whose variance is {variance:.5f}:")
tell("skips   z = mu    noise for z   change of the picture by the noise")
for skips, effect in effects.items():
    tell(
        f"{skips:6}  {effect.reconstruction:.5f}   {effect.with_noise_for_z:.5f}       "
        f"{effect.change:.1e}"
    )
tell("A small error and a small change: the skips carry the image, not z. An error as large as")
tell("the variance: the model draws nearly the same picture for every image.")
tell(f"pictures (leak.png), weights and metrics are in {out}")

# %%
# A notebook shows the picture:
sv.plots.Pictures(out)
