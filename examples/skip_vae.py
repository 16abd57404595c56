"""Train a VAE with skip connections, and find out what its latent code is good for.

    python examples/skip_vae.py                              # faces drawn on the spot
    python examples/skip_vae.py --latent learned             # a code with room for a picture
    python examples/skip_vae.py --data-dir ~/Pictures        # CelebA, or any folder of images

Three models, alike but for their skips: all of them, all but the image itself, none. Each is asked
to reconstruct test images twice, from their own codes and from noise in the place of these. Where
the reconstruction is good and the noise changes nothing, the picture has gone past the code: the
skips leak.
"""

import json
from dataclasses import replace
from typing import cast

import numpy as np
from common import fit, options, prepare

import scratchvae as sv
from scratchvae.commands.options import positive
from scratchvae.data import batches, load_images
from scratchvae.evaluation.metrics import effect_of_z
from scratchvae.output import write_atomically
from scratchvae.plots import image_table
from scratchvae.train import streams

TESTED, SHOWN = 200, 10


def spread(images: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the images, evenly spread: a folder's first ones may be all of a kind."""
    return images[:: max(1, len(images) // count)][:count]


def main() -> None:
    parser = options(__doc__, out="runs/skip", epochs=10, batch_size=32, lr=1e-3)
    parser.add_argument(
        "--latent", choices=["scalar", "learned"], default="scalar", help="what mu and logvar are"
    )
    parser.add_argument(
        "--images", type=positive(int), default=1_000, help="how many of the data set to train on"
    )
    parser.add_argument("--data-dir", help="CelebA, or any folder of images")
    args = parser.parse_args()
    data = prepare(args, lambda: load_images(args.data_dir))
    data = replace(
        data,
        train_images=spread(data.train_images, args.images),
        test_images=spread(data.test_images, TESTED),
    )

    x = sv.asarray(next(batches(data.test_images, TESTED)))
    rows, effects = {"test images": x[:SHOWN]}, {}
    for skips in ("all", "deep", "none"):
        structure = {"skips": skips, "latent": args.latent}
        model = cast(sv.models.Skip, sv.models.build("skip", seed=args.seed, **structure))
        print(f"\nskips = {skips}")
        fit(args, model, sv.optim.AdamW(model, lr=args.lr, weight_decay=1e-4), data)
        sv.save_weights(model, args.out / f"weights-{skips}.safetensors", model="skip", **structure)

        effects[skips] = effect_of_z(model, data.test_images, streams(args.seed).pictures)
        noise = model.noise(len(x), streams(args.seed).pictures)  # the same
        rows[f"skips = {skips}: reconstructions, z = mu"] = model.reconstruct(x[:SHOWN])
        if skips != "none":
            label = f"skips = {skips}: z is noise, the skips are those of the images above"
            rows[label] = model.generate(noise[:SHOWN], skips_from=x[:SHOWN])
        rows[f"skips = {skips}: z is noise, and nothing crosses"] = model.generate(noise[:SHOWN])
    image_table([*rows.values()], args.out / "leak.png", [*rows])
    metrics = {skips: effect._asdict() for skips, effect in effects.items()}
    write_atomically(args.out / "metrics.json", (json.dumps(metrics, indent=1) + "\n").encode())

    variance = effects["all"].variance
    print(f"\nMean squared error of {len(x)} test images, whose variance is {variance:.5f}:")
    print("skips   z = mu    noise for z   change of the picture by the noise")
    for skips, effect in effects.items():
        print(
            f"{skips:6}  {effect.reconstruction:.5f}   {effect.with_noise_for_z:.5f}       "
            f"{effect.change:.1e}"
        )
    print("A small error and a small change: the picture went past z. An error as large as the")
    print("variance: no picture at all.")
    print(f"pictures (leak.png), weights and metrics are in {args.out}")


if __name__ == "__main__":
    main()
