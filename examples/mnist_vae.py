"""Train a VAE on MNIST, gradients written by hand, and look at what it learned.

    python examples/mnist_vae.py                       # fully connected, the quickest
    python examples/mnist_vae.py --model conv
    python examples/mnist_vae.py --latent-dim 2        # draws the latent plane, too

Without MNIST and without a network it goes on with digits drawn from fonts, and says so.
"""

from common import fit, leave, options, prepare

import scratchvae as sv
from scratchvae.commands.options import at_least, positive
from scratchvae.data import load_or_glyphs


def main() -> None:
    parser = options(__doc__, out="runs/mnist", epochs=10, batch_size=128, lr=1e-3)
    parser.add_argument(
        "--model", choices=["mlp", "conv", "ae"], default="mlp", help="model to train"
    )
    parser.add_argument("--latent-dim", type=positive(int), default=20, help="length of a code")
    parser.add_argument(
        "--beta", type=at_least(0, float), default=1.0, help="weight of the KL term"
    )
    parser.add_argument(
        "--dataset", choices=["mnist", "fashion-mnist", "glyphs"], default="mnist", help="pictures"
    )
    parser.add_argument(
        "--data-dir", help="folder with the four IDX files, looked into and nowhere else"
    )
    args = parser.parse_args()
    if args.model == "ae" and args.beta != 1:
        parser.error("argument --beta: the autoencoder has no KL term to weight")
    data = prepare(args, lambda: load_or_glyphs(args.dataset, args.data_dir))

    kl = {} if args.model == "ae" else {"kl_weight": args.beta}
    model = sv.models.build(args.model, latent_dim=args.latent_dim, seed=args.seed, **kl)
    optimizer = sv.optim.Adam(model, lr=args.lr)
    history = fit(args, model, optimizer, data)
    metrics = leave(args, model, data, history)

    if args.model == "ae":
        error = metrics["test_deterministic"]["reconstruction"]
        result = f"test squared error {error:.2f} per image"
    else:
        result = f"test -ELBO {metrics['test_neg_elbo']:.2f} nats per image, sampled z"
    print(f"{result} ({data.name}); pictures, weights and metrics are in {args.out}")


if __name__ == "__main__":
    main()
