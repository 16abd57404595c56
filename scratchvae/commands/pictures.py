"""Pictures of what a trained model has learned, or with --npz the arrays behind them.

    reconstruct    images above their reconstructions
    sample         images decoded from z ~ N(0, I)
    interpolate    codes between the codes of two images
    traverse       one latent dimension at a time
    manifold       the whole latent space, if it has two dimensions

Each is a function that makes a Picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data import batches
from ..data.decode import decode_or_reason
from ..evaluation import latents
from ..models import VAE
from ..output import whole_file
from ..runs import Run, RunFolder
from .options import add_command, at_least, numbers, open_for, positive, run_options, say, show

# Default counts: reconstructed images, pairs, traversed dimensions, images that select these.
SHOWN, MOST_PAIRS, MOST_DIMENSIONS, LOOKED_AT = 8, 5, 10, 2000
MOST_CODES = 10_000  # in the second picture of manifold
LUMA = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601


class Picture(NamedTuple):
    """The arrays of a picture, and the function that draws it."""

    arrays: dict[str, np.ndarray]  # for --npz, which adds data_range and images; one is `z`
    draw: Callable[[Any, Path], list[Path] | None]  # (plots, path) -> further pictures it wrote
    skips_from: np.ndarray | None = None  # for the images of z


SKIPS_FROM = (
    "--skips-from", "INDEX", int, "model skip: skips of this test image (default: no skips)"
)  # fmt: skip


def add(commands: Any) -> None:
    parser = add_picture(
        commands, reconstruct, "draw images above their reconstructions",
        " by a trained model: test images, or your own files.",
        "scratchvae reconstruct runs/digits",
        "scratchvae reconstruct runs/digits --images 3,14,15 --sampled",
        "scratchvae reconstruct runs/faces --files me.jpg you.png",
    )  # fmt: skip
    one_of = parser.add_mutually_exclusive_group()
    option(one_of, "--count", "N", positive(int), f"first N test images (default: {SHOWN})")
    option(one_of, "--images", "I,I,...", numbers, "indices of test images, counted from 0")
    option(
        one_of, "--files", "FILE", str, "JPEG or PNG files: the central square of each, in grey if "
        "the model has one channel (models of digits expect white on black)", nargs="+",
    )  # fmt: skip
    parser.add_argument("--sampled", action="store_true", help="draw z ~ q(z|x) instead of z = mu")
    option(parser, "--seed", "N", at_least(0), "random seed for z", 0)

    parser = add_picture(
        commands, sample, "draw images decoded from z ~ N(0, I)", ".",
        "scratchvae sample runs/digits",
        "scratchvae sample runs/faces --count 24 --columns 6 --temperature 0.7",
        "scratchvae sample runs/digits --count 10000 --npz samples.npz",
    )  # fmt: skip
    option(parser, "--count", "N", positive(int), "number of images", 64)
    option(parser, "--columns", "N", positive(int), "images per row", 8)
    option(parser, "--seed", "N", at_least(0), "random seed for z", 0)
    option(
        parser, "--temperature", "T", at_least(0, float),
        "standard deviation of z; below 1, images are cleaner and more alike", 1.0,
    )  # fmt: skip
    option(parser, *SKIPS_FROM)

    parser = add_picture(
        commands, interpolate, "draw interpolations between pairs of test images",
        ": each row decodes codes between the codes (mu) of two images.",
        "scratchvae interpolate runs/digits",
        "scratchvae interpolate runs/digits --pairs 3,5,7,9 --steps 15",
        "scratchvae interpolate runs/faces --spherical",
    )  # fmt: skip
    option(parser, "--pairs", "A,B,...", numbers, "test images, two per row (default: 0 to 9)")
    option(parser, "--steps", "N", at_least(2), "images per row", 10)
    great_circle = "follow a great circle, not a line; it keeps the length of z"
    parser.add_argument("--spherical", action="store_true", help=great_circle)
    option(parser, *SKIPS_FROM)

    parser = add_picture(
        commands, traverse, "draw what each latent dimension does",
        ": each row decodes codes in which one dimension goes from -3 to 3 and the others stay "
        "fixed.",
        "scratchvae traverse runs/digits",
        "scratchvae traverse runs/digits --dimensions 0,5 --image 3",
        "scratchvae traverse runs/faces --range 4 --steps 15",
    )  # fmt: skip
    option(
        parser, "--dimensions", "D,D,...", numbers, "indices of the dimensions, counted from 0 "
        f"(default: up to {MOST_DIMENSIONS}, those whose mu varies most over test images)",
    )  # fmt: skip
    option(
        parser, "--image", "INDEX", int,
        "start from the code of this test image (default: from z = 0, the mean of the prior)",
    )  # fmt: skip
    option(parser, "--range", "R", positive(float), "go from -R to R", 3.0)
    option(parser, "--steps", "N", at_least(2), "images per row", 11)
    option(parser, *SKIPS_FROM)

    parser = add_picture(
        commands, manifold, "draw the latent plane of a model with two latent dimensions",
        ", decoded at the quantiles of N(0, I): z[0] grows to the right, z[1] upwards. If the data "
        "set has classes, a second picture, NAME-codes.png, shows the codes of the test images.",
        "scratchvae train conv --latent-dim 2 --out runs/plane",
        "scratchvae manifold runs/plane",
    )  # fmt: skip
    option(parser, "--size", "N", positive(int), "draw N x N images", 20)


def add_picture(commands: Any, make: Callable[..., Picture], *words: str) -> Any:
    """Declare a command with the function's name and return its parser, as `add_command` does."""
    parser = add_command(commands, make.__name__, run, *words)
    parser.set_defaults(make=make)
    run_options(parser)
    output = parser.add_mutually_exclusive_group()
    path = f"RUN/pictures/{make.__name__}.png"
    option(output, "--out", "FILE.png", Path, f"file for the picture (default: {path})")
    option(output, "--npz", "FILE.npz", Path, "write the arrays instead of a picture")
    return parser


def option(
    group: Any, name: str, metavar: str, kind: Any, help: str, default: Any = None, **more: Any
) -> None:
    """Add an option; its default, if any, is appended to its help."""
    if default is not None:
        help += f" (default: {default:g})"
    group.add_argument(name, metavar=metavar, type=kind, default=default, help=help, **more)


def run(args: argparse.Namespace) -> int:
    for path, suffix in ((args.out, ".png"), (args.npz, ".npz")):
        if path is not None and path.suffix.lower() != suffix:
            raise ValueError(f"{path}: expected a file name that ends in {suffix}")
    run = open_for(args, args.out, args.npz)
    arrays, draw, skips_from = args.make(args, run)
    model, z = run.model, arrays["z"]
    shape = (*z.shape[: -len(model.latent_shape)], *model.image_shape)
    also: list[Path] = []
    if args.npz is not None:
        path = args.npz
        images = latents.decoded(model, z.reshape(-1, *model.latent_shape), skips_from)
        arrays["images"] = images.reshape(shape)
        with whole_file(path) as file:
            np.savez(file, data_range=model.data_range, **arrays)
    else:
        from .. import plots  # here: matplotlib takes a second to import

        path = args.out or RunFolder(args.folder).pictures / f"{args.make.__name__}.png"
        path.parent.mkdir(exist_ok=True)
        also = draw(plots, path) or []
    result = {"file": path, "shape": shape} | ({"also": also} if also else {})
    show(args, result, "\n".join(map(str, [path, *also])))
    return 0


def images_at(run: Run, indices: Sequence[int], option: str) -> np.ndarray:
    """Test images as the model expects them: (N, C, H, W), on the host."""
    images = run.test_images()
    for index in indices:
        if not 0 <= index < len(images):
            raise ValueError(f"{option}: expected indices from 0 to {len(images) - 1}, got {index}")
    return as_floats(run, images[list(indices)])


def as_floats(run: Run, images: np.ndarray) -> np.ndarray:
    """uint8 -> the model's dtype, in its data_range: (N, C, H, W)."""
    model = run.model
    return next(batches(images, len(images), data_range=model.data_range, dtype=model.dtype))


def skips_for(args: argparse.Namespace, run: Run) -> np.ndarray | None:
    """The image that --skips-from names, if any; prints where skips come from."""
    index = args.skips_from
    if not run.model.has_skips:
        if index is not None:
            raise ValueError(f"--skips-from: the model {run.config.model} has no skips")
        return None
    if index is None:
        say(
            "decoding without skips, although the decoder was trained with them; --skips-from "
            "INDEX uses the skips of a test image"
        )
        return None
    say(f"decoding with the skips of test image {index}")
    return images_at(run, [index], "--skips-from")


def reconstruct(args: argparse.Namespace, run: Run) -> Picture:
    """Two rows: the images, and under each its reconstruction."""
    model, arrays = run.model, {}
    if args.files:
        x = as_floats(run, read_files(run, args.files))
        labels = [f"file {i + 1}" for i in range(len(x))]
    else:
        option, chosen = "--images", args.images
        if chosen is None:
            option, chosen = "--count", range(args.count or min(SHOWN, len(run.test_images())))
        x = images_at(run, chosen, option)
        labels = [f"test {i}" for i in chosen]
        arrays["test_indices"] = np.array(chosen)
    rng = np.random.default_rng(args.seed) if args.sampled else None
    z = latents.posterior_codes(model, x, rng)
    arrays |= {"originals": x, "z": z}
    drawn = z if args.sampled else None
    return Picture(
        arrays,
        lambda plots, path: plots.reconstructions(model, x, path, drawn, labels),
        x if model.has_skips else None,
    )


def read_files(run: Run, files: list[str]) -> np.ndarray:
    """The user's images in the model's shape: uint8 (N, C, H, W)."""
    C, H, W = run.model.image_shape
    if H != W:
        raise ValueError(f"--files: expected a model of square images, got one of {H} x {W}")
    found = []
    for path in files:
        pixels = decode_or_reason(path, H, crop=None)
        if isinstance(pixels, str):
            raise ValueError(f"{path}: {pixels}")
        if C == 1:
            pixels = np.rint(np.tensordot(LUMA, pixels, axes=1))[None].astype("uint8")
        found.append(pixels)
    return np.stack(found)


def sample(args: argparse.Namespace, run: Run) -> Picture:
    """A grid of images, row by row."""
    model = run.model
    if not isinstance(model, VAE):
        say(
            "an autoencoder has no prior: its codes do not follow N(0, I), so these samples are "
            "decoded from codes unlike those of training"
        )
    columns, temperature, skips = args.columns, args.temperature, skips_for(args, run)
    z = latents.prior_codes(model, args.count, np.random.default_rng(args.seed), temperature)
    return Picture(
        {"z": z},
        lambda plots, path: plots.samples(model, z, path, columns, temperature, skips),
        skips,
    )


def interpolate(args: argparse.Namespace, run: Run) -> Picture:
    """A row for each pair; its ends are the reconstructions of the two."""
    pairs = args.pairs
    if pairs is None:
        pairs = range(2 * min(MOST_PAIRS, max(1, len(run.test_images()) // 2)))
    if len(pairs) % 2:
        raise ValueError(f"--pairs: expected an even number of images, got {len(pairs)}")
    ends = latents.posterior_codes(run.model, images_at(run, pairs, "--pairs"))
    t = np.linspace(0, 1, args.steps)
    z = (latents.great_circle if args.spherical else latents.line)(ends[::2], ends[1::2], t)
    skips = skips_for(args, run)
    return Picture(
        {"z": z, "t": t, "test_indices": np.array(pairs)},
        lambda plots, path: plots.interpolation(run.model, z, path, pairs, skips),
        skips,
    )


def traverse(args: argparse.Namespace, run: Run) -> Picture:
    """A row for each dimension, the most active one first if none are chosen."""
    model, dimensions = run.model, args.dimensions
    if dimensions is None:
        codes = latents.posterior_codes(model, as_floats(run, run.test_images()[:LOOKED_AT]))
        dimensions = latents.most_active(codes, MOST_DIMENSIONS)
    last = prod(model.latent_shape) - 1
    for dimension in dimensions:
        if not 0 <= dimension <= last:
            raise ValueError(f"--dimensions: expected 0 to {last}, got {dimension}")
    arrays, base = {}, np.zeros(model.latent_shape, model.dtype)
    if args.image is not None:
        arrays["test_indices"] = np.array([args.image])
        base = latents.posterior_codes(model, images_at(run, [args.image], "--image"))[0]
    values = np.linspace(-args.range, args.range, args.steps)
    z = latents.traversal(base, dimensions, values)
    arrays |= {"z": z, "values": values, "dimensions": np.array(dimensions)}
    skips = skips_for(args, run)
    return Picture(
        arrays,
        lambda plots, path: plots.traversal(model, z, path, dimensions, values, skips),
        skips,
    )


def manifold(args: argparse.Namespace, run: Run) -> Picture:
    """The plane, and the test images on it by their classes, if they have any."""
    model = run.model
    if model.latent_shape != (2,):
        advice = (
            "the model skip always has more" if run.config.model == "skip"
            else f"train one: scratchvae train {run.config.model} --latent-dim 2"
        )  # fmt: skip
        raise ValueError(
            f"{args.folder}: expected a model with two latent dimensions, got codes of shape "
            f"{model.latent_shape}; {advice}"
        )
    z = latents.plane(args.size, model.dtype)
    arrays = {"z": z}
    labels = run.load_data().test_labels
    if labels is not None:
        labels = labels[:MOST_CODES]
        codes = latents.posterior_codes(model, as_floats(run, run.test_images()[:MOST_CODES]))
        arrays |= {"codes": codes, "labels": labels}

    def draw(plots: Any, path: Path) -> list[Path]:
        plots.manifold(model, path, args.size)
        if labels is None:
            return []
        second = path.with_name(f"{path.stem}-codes.png")
        title = f"codes (mu) of {len(codes):,} test images, {run.config.data}"
        plots.code_scatter(codes, labels, second, title)
        return [second]

    return Picture(arrays, draw)
