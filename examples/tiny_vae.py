"""Train the smallest VAE of the house: 40,289 parameters, and digits come out all the same.

    python examples/tiny_vae.py
    python examples/tiny_vae.py --latent-dim 2         # 12,641 parameters; draws the latent plane

Without MNIST and without a network it goes on with digits drawn from fonts, and says so.
"""

from common import fit, leave, options, prepare

import scratchvae as sv
from scratchvae.commands.options import positive
from scratchvae.data import load_or_glyphs
from scratchvae.models.inspect import summary


def main() -> None:
    parser = options(__doc__, out="runs/tiny", epochs=10, batch_size=128, lr=1e-3)
    parser.add_argument("--latent-dim", type=positive(int), default=20, help="length of a code")
    parser.add_argument(
        "--data-dir", help="folder with MNIST's four files, looked into and nowhere else"
    )
    args = parser.parse_args()
    data = prepare(args, lambda: load_or_glyphs("mnist", args.data_dir))

    model = sv.models.build("tiny", latent_dim=args.latent_dim, seed=args.seed)
    print(summary(model))
    history = fit(args, model, sv.optim.Adam(model, lr=args.lr), data)
    metrics = leave(args, model, data, history)
    print(
        f"test -ELBO {metrics['test_neg_elbo']:.2f} nats per image, sampled z ({data.name}); "
        f"pictures, weights and metrics are in {args.out}"
    )


if __name__ == "__main__":
    main()
