"""Why is an autoencoder not a generative model? Train one beside a VAE, and draw from both.

    python examples/autoencoder_vs_vae.py

The two have the same layers, but for the second head of the VAE's encoder, and see the same images.
Both reconstruct. Then each decodes z ~ N(0, I), without any image: in the VAE the KL term has put
the codes where such a z will lie; where the autoencoder has put its own, nobody has asked. So it
gets a second chance, with z drawn from a Gaussian that has the mean and the deviation of its codes.
"""

from common import fit, options, prepare

import scratchvae as sv
from scratchvae.commands.options import positive
from scratchvae.data import batches, load_or_glyphs
from scratchvae.plots import image_table
from scratchvae.train import streams

SHOWN = 16


def main() -> None:
    parser = options(__doc__, out="runs/autoencoder_vs_vae", epochs=5, batch_size=128, lr=1e-3)
    parser.add_argument("--latent-dim", type=positive(int), default=20, help="length of a code")
    parser.add_argument(
        "--data-dir", help="folder with MNIST's four files, looked into and nowhere else"
    )
    args = parser.parse_args()
    data = prepare(args, lambda: load_or_glyphs("mnist", args.data_dir))

    models = {}
    for name in ("ae", "mlp"):
        model = sv.models.build(name, latent_dim=args.latent_dim, seed=args.seed)
        fit(args, model, sv.optim.Adam(model, lr=args.lr), data)
        sv.save_weights(
            model, args.out / f"{name}.safetensors", model=name, latent_dim=args.latent_dim
        )
        models[name] = model
    ae, vae = models["ae"], models["mlp"]

    x = sv.asarray(next(batches(data.test_images, len(data.test_images))))
    codes = {"autoencoder": ae.embed(x), "VAE": vae.embed(x)}
    for name, code in codes.items():
        print(
            f"codes of the test images, {name}: mean of a dimension "
            f"{float(code.mean(axis=0).min()):.2f} to {float(code.mean(axis=0).max()):.2f}, "
            f"deviation {float(code.std(axis=0).min()):.2f} to {float(code.std(axis=0).max()):.2f}"
        )
    z = ae.noise(SHOWN, streams(args.seed).pictures)
    mean, deviation = codes["autoencoder"].mean(axis=0), codes["autoencoder"].std(axis=0)
    rows = {
        "test images": x[:SHOWN],
        "autoencoder: reconstructions": ae.reconstruct(x[:SHOWN]),
        "VAE: reconstructions, z = mu": vae.reconstruct(x[:SHOWN]),
        "VAE: z ~ N(0, I)": vae.generate(z),
        "autoencoder: z ~ N(0, I), the same": ae.generate(z),
        "autoencoder: z as before, with the mean and deviation of its codes": ae.generate(
            mean + deviation * z
        ),
    }
    image_table([*rows.values()], args.out / "samples.png", [*rows])
    print(f"the answer (samples.png) and weights are in {args.out}")


if __name__ == "__main__":
    main()
