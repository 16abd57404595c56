"""Train a convolutional VAE with batch normalisation on colour images of 64 x 64.

    python examples/celeba_vae.py                            # faces drawn on the spot
    python examples/celeba_vae.py --data-dir celeba          # CelebA, as it is distributed
    python examples/celeba_vae.py --data-dir ~/Pictures      # any folder of JPEG and PNG files

CelebA's folder holds img_align_celeba/ and list_eval_partition.txt. Images are decoded once and
kept in the cache; the first run with a large folder takes its time, the next begins at once.

The tutorial behind this model takes --batch-size 128 --lr 0.005, and has 1,272 steps an epoch with
CelebA. The 8,000 drawn faces would be 63 steps: the default batch is smaller for their sake.
"""

from common import fit, leave, options, prepare

import scratchvae as sv
from scratchvae.commands.options import at_least, positive
from scratchvae.data import load_images


def main() -> None:
    parser = options(__doc__, out="runs/celeba", epochs=5, batch_size=16, lr=1e-3)
    parser.add_argument("--latent-dim", type=positive(int), default=128, help="length of a code")
    parser.add_argument(
        "--kl-weight",
        type=at_least(0, float),
        default=0.00025,
        help="weight of the KL term beside the mean squared error",
    )
    parser.add_argument("--data-dir", help="CelebA, or any folder of images")
    args = parser.parse_args()
    data = prepare(args, lambda: load_images(args.data_dir))

    model = sv.models.build(
        "celeba", latent_dim=args.latent_dim, kl_weight=args.kl_weight, seed=args.seed
    )
    history = fit(args, model, sv.optim.Adam(model, lr=args.lr), data)
    metrics = leave(args, model, data, history)

    elements = data.train_images[0].size
    if args.kl_weight > 0:
        beta = sv.loss_scales(elements, mean=args.kl_weight).beta
        print(f"KL weight {args.kl_weight:g} is beta {beta:.3f} for a decoder of unit variance")
    error = metrics["test_deterministic"]["reconstruction"]
    print(
        f"test mean squared error {error:.5f} at z = mu ({data.name}); "
        f"pictures, weights and metrics are in {args.out}"
    )


if __name__ == "__main__":
    main()
