"""Pictures of what a trained model has learned, or with --npz the arrays behind them.

    reconstruct    images above their reconstructions
    sample         images decoded from z ~ N(0, I)
    interpolate    codes between the codes of two images
    traverse       one latent dimension at a time
    manifold       the whole latent space, if it has two dimensions

Each is a function that returns the arrays and a function that draws them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..data import batches, image_options, spread
from ..data.dataset import doubts
from ..data.decode import decode_or_reason
from ..evaluation import latents
from ..models import VAE
from ..output import note, remove_left_behind, warn, whole_folder, write_npz
from ..runs import Run, RunFolder
from .options import (
    add_command,
    at_least,
    flag,
    numbers,
    open_for,
    option,
    path,
    positive,
    run_options,
    show,
    text,
)

# Default counts: reconstructed images, pairs, traversed dimensions, images that select these.
SHOWN, MOST_PAIRS, MOST_DIMENSIONS, LOOKED_AT = 8, 5, 10, 2000
MOST_CODES = 10_000  # in the second picture of manifold
MOST_BYTES = 1 << 29  # of what a command keeps in memory at once
WHITE_ON_BLACK = ("mnist", "fashion-mnist", "kmnist", "emnist", "glyphs")


# For --npz, which adds data_range and images; one array is `z`.
Arrays = dict[str, np.ndarray]
# (plots, path of the picture, images that lend their skips) -> further pictures that it wrote
Draw = Callable[[Any, Path, np.ndarray | None], list[Path] | None]


# Options of several commands, for `option`.
COLUMNS = ("--columns N", positive(int), "images per row", None, "as many as make a page")
SEED = ("--seed N", at_least(0), "random seed for z", 0)
STEPS = ("--steps N", at_least(2), "images per row")
SKIPS_FROM = ("--skips-from INDEX", int, "model skip: skips of this test image", None, "no skips")


def add(commands: Any) -> None:
    parser = add_picture(
        commands, reconstruct, "draw images above their reconstructions",
        " by a trained model: test images, or your own files.",
        "scratchvae reconstruct runs/digits",
        "scratchvae reconstruct runs/digits --images 3,14,15 --sampled",
        "scratchvae reconstruct runs/faces --files me.jpg you.png",
    )  # fmt: skip
    one_of = parser.add_mutually_exclusive_group()
    option(one_of, "--count N", positive(int), "N images across the test set", None, SHOWN)
    option(one_of, "--images I,I,...", numbers, "indices of test images, counted from 0")
    option(
        one_of, "--files FILE", text, "image files, converted like the images of the run; models "
        "of digits expect white on black, so --background is black for them by default", nargs="+",
    )  # fmt: skip
    option(parser, *COLUMNS)
    option(parser, "--sampled", bool, "draw z ~ q(z|x) instead of z = mu")
    option(parser, *SEED)

    parser = add_picture(
        commands, sample, "draw images decoded from z ~ N(0, I)", ".",
        "scratchvae sample runs/digits",
        "scratchvae sample runs/faces --count 24 --columns 6 --temperature 0.7",
        "scratchvae sample runs/digits --count 10000 --npz samples.npz",
        "scratchvae sample runs/digits --count 50000 --folder samples",
    )  # fmt: skip
    option(parser, "--count N", positive(int), "number of images", 64)
    option(parser, *COLUMNS)
    option(parser, *SEED)
    cleaner = "standard deviation of z; below 1, images are cleaner and more alike"
    option(parser, "--temperature T", at_least(0, float), cleaner, 1)
    option(parser, *SKIPS_FROM)

    parser = add_picture(
        commands, interpolate, "draw interpolations between pairs of test images",
        ": each row decodes codes between the codes (mu) of two images.",
        "scratchvae interpolate runs/digits",
        "scratchvae interpolate runs/digits --pairs 3,5,7,9 --steps 15",
        "scratchvae interpolate runs/faces --spherical",
    )  # fmt: skip
    across = f"{2 * MOST_PAIRS} across the test set"
    option(parser, "--pairs A,B,...", numbers, "test images, two per row", None, across)
    option(parser, *STEPS, 10)
    great_circle = "follow a great circle, not a line; it keeps the length of z"
    option(parser, "--spherical", bool, great_circle)
    option(parser, *SKIPS_FROM)

    parser = add_picture(
        commands, traverse, "draw what each latent dimension does",
        ": each row decodes codes in which one dimension goes from -3 to 3 and the others stay "
        "fixed.",
        "scratchvae traverse runs/digits",
        "scratchvae traverse runs/digits --dimensions 0,5 --image 3",
        "scratchvae traverse runs/faces --range 4 --steps 15",
    )  # fmt: skip
    active = f"up to {MOST_DIMENSIONS}, those whose mu varies most over test images"
    option(
        parser, "--dimensions D,D,...", numbers, "indices of the dimensions, counted from 0",
        shown=active,
    )  # fmt: skip
    start, origin = "start from the code of this test image", "from z = 0, the mean of the prior"
    option(parser, "--image INDEX", int, start, None, origin)
    option(parser, "--range R", positive(float), "go from -R to R", 3)
    option(parser, *STEPS, 11)
    option(parser, *SKIPS_FROM)

    parser = add_picture(
        commands, manifold, "draw the latent plane of a model with two latent dimensions",
        ", decoded at the quantiles of N(0, I): z[0] grows to the right, z[1] upwards. If the data "
        "set has classes, a second picture, NAME-codes.png, shows the codes of the test images.",
        "scratchvae train conv --latent-dim 2 --out runs/plane",
        "scratchvae manifold runs/plane",
    )  # fmt: skip
    option(parser, "--size N", positive(int), "draw N x N images", 20)


def add_picture(commands: Any, make: Callable[..., tuple[Arrays, Draw]], *words: str) -> Any:
    """Declare a command with the function's name and return its parser, as `add_command` does."""
    parser = add_command(commands, make.__name__, run, *words)
    parser.set_defaults(make=make, each=None, columns=None, skips_from=None)
    run_options(parser)
    output = parser.add_mutually_exclusive_group()
    png, npz = partial(path, suffix=".png"), partial(path, suffix=".npz")
    default = f"RUN/pictures/{make.__name__}.png"
    option(output, "--out FILE.png", png, "file for the picture", None, default)
    option(output, "--npz FILE.npz", npz, "write the arrays instead of a picture")
    if make is sample:
        each = "write each image to a file of its own in this new folder: 000000.png, ..."
        option(output, "--folder DIR", path, each, dest="each")
    return parser


def run(args: argparse.Namespace) -> int:
    picture = args.out or RunFolder(args.folder).pictures / f"{args.make.__name__}.png"
    outputs = [args.npz or args.each or picture]
    if outputs == [picture] and args.make is manifold:
        outputs.append(codes_beside(picture))
    elif outputs == [args.each] and args.each.exists():
        if args.each.is_dir():
            remove_left_behind(args.each)
        if not args.each.is_dir() or any(args.each.iterdir()):
            raise FileExistsError(f"--folder: expected a new or an empty folder, got {args.each}")
        outputs = []  # nothing else to check
    run = open_for(args, *outputs)
    arrays, draw = args.make(args, run)
    model, z, skips = run.model, arrays["z"], skips_for(args, run, arrays)
    shape = (*z.shape[: -len(model.latent_shape)], *model.image_shape)
    images = latents.decoded_parts(model, z.reshape(-1, *model.latent_shape), skips)
    also: list[Path] = []
    if args.npz is not None:
        arrays["data_range"] = np.array(model.data_range)
        write_npz(args.npz, arrays, "images", images, shape, model.dtype)
    elif args.each is not None:
        write_each(args.each, images, model.data_range)
    else:
        from .. import plots  # here: matplotlib takes a second to import

        picture.parent.mkdir(exist_ok=True)
        also = draw(plots, picture, skips) or []
    args.saved = True
    file = args.npz or args.each or picture
    result = {"file": file, "shape": shape} | ({"also": also} if also else {})
    show(args, result, "\n".join(map(str, [file, *also])))
    return 0


def codes_beside(picture: Path) -> Path:
    """The second picture of `manifold`."""
    return picture.with_name(f"{picture.stem}-codes.png")


def write_each(folder: Path, parts: Iterator[np.ndarray], data_range: tuple[float, float]) -> None:
    """Write each image to a PNG in a new folder, all or none of them."""
    from PIL import Image

    from .. import plots

    images = (image for part in parts for image in plots.to_uint8(part, data_range))
    with whole_folder(folder) as unfinished:
        for number, image in enumerate(images):  # (C, H, W)
            picture = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
            Image.fromarray(picture).save(unfinished / f"{number:06}.png")


SIZES = ("files", "images", "count", "pairs", "dimensions", "steps", "size", "columns")  # options


def check_size(args: argparse.Namespace, run: Run, table: int | tuple[int, int], each: int) -> None:
    """ValueError, before anything is computed, if the result gets too large.

    `table`: rows and columns, or a number of images for a page; `each`: numbers in memory for one.
    """
    shape, problem, advice = run.model.image_shape, None, "choose fewer"
    if args.npz is None and args.each is None:
        from .. import plots

        if isinstance(table, int):
            table = plots.layout(table, shape, args.columns or 0, args.make is reconstruct)
        problem = plots.too_large(*table, shape, gap=int(args.make is not manifold))
        advice += ", or write them with --npz FILE.npz" + " or --folder DIR" * (args.make is sample)
    else:
        count = table if isinstance(table, int) else prod(table)
        size = count * each * run.model.dtype.itemsize
        if size > MOST_BYTES:
            most = f"expected at most {MOST_BYTES / 1e9:.1f} GB"
            problem = f"{count:,} images would take {size / 1e9:,.1f} GB of memory; {most}"
    if problem:
        given = [flag(name) for name in SIZES if getattr(args, name, None) is not None]
        raise ValueError(f"{' and '.join(given) or 'images'}: {problem}: {advice}")


def images_at(run: Run, indices: Sequence[int], option: str) -> np.ndarray:
    """uint8 test images."""
    images = run.test_images()
    for index in indices:
        if not 0 <= index < len(images):
            raise ValueError(f"{option}: expected indices from 0 to {len(images) - 1}, got {index}")
    return images[list(indices)]


def as_floats(run: Run, images: np.ndarray) -> np.ndarray:
    """uint8 -> the model's dtype, in its data_range: (N, C, H, W)."""
    model = run.model
    return next(batches(images, len(images), data_range=model.data_range, dtype=model.dtype))


def codes_of(run: Run, images: np.ndarray) -> np.ndarray:
    """mu of uint8 images, or the codes of an autoencoder."""
    model = run.model
    parts = batches(images, latents.BATCH, data_range=model.data_range, dtype=model.dtype)
    return np.concatenate([latents.posterior_codes(model, x) for x in parts])


def skips_for(args: argparse.Namespace, run: Run, arrays: Arrays) -> np.ndarray | None:
    """The images whose skips are used, if any: those reconstructed, or that of --skips-from. A note
    says which."""
    index = args.skips_from
    if not run.model.has_skips:
        if index is not None:
            raise ValueError(f"--skips-from: the model {run.config.model} has no skips")
        return None
    if "originals" in arrays:
        return arrays["originals"]
    if index is None:
        note(
            "decoding without skips, although the decoder was trained with them; --skips-from "
            "INDEX uses the skips of a test image"
        )
        return None
    note(f"decoding with the skips of test image {index}")
    return as_floats(run, images_at(run, [index], "--skips-from"))


def reconstruct(args: argparse.Namespace, run: Run) -> tuple[Arrays, Draw]:
    """Two rows: the images, and under each its reconstruction; several of them on a page."""
    model, indices = run.model, args.images
    count = len(args.files or indices or range(args.count or SHOWN))
    check_size(args, run, count, prod(model.image_shape))
    arrays = {}
    if args.files:
        images, names = read_files(args, run), [f"file {i + 1}" for i in range(count)]
    else:
        if indices is None:
            total = len(run.test_images())
            if args.count is not None and count > total:
                raise ValueError(f"--count: expected at most {total} test images, got {count}")
            indices = spread(count, total).tolist()
        images, names = images_at(run, indices, "--images"), [f"test {i}" for i in indices]
        arrays["test_indices"] = np.array(indices)
    x = as_floats(run, images)
    rng = np.random.default_rng(args.seed) if args.sampled else None
    z = latents.posterior_codes(model, x, rng)
    drawn, columns = z if args.sampled else None, args.columns or 0
    return arrays | {"originals": x, "z": z}, lambda plots, path, _: plots.reconstructions(
        model, x, path, drawn, names, columns
    )


def read_files(args: argparse.Namespace, run: Run) -> np.ndarray:
    """The user's images, converted like the images of the run: uint8 (N, C, H, W)."""
    C, H, W = run.model.image_shape
    for name in ("image_size", "grey"):
        if getattr(args, name) is not None:
            raise ValueError(
                f"{flag(name)}: files become images of the model's size and colours ({W}x{H}, "
                f"{'grey' if C == 1 else 'colour'}): leave {flag(name)} out"
            )
    options = {name: getattr(run.config, name) for name in ("crop", "background", "value_range")}
    if not run.config.data.startswith("images:"):  # the run's range is not that of image files
        options["value_range"] = args.value_range
    if options["background"] is None and run.config.data.startswith(WHITE_ON_BLACK):
        options["background"] = "black"
    found = []
    for file in args.files:
        pixels = decode_or_reason(file, image_options((H, W), C == 1, **options))
        if isinstance(pixels, str):
            raise ValueError(f"{file}: {pixels}")
        if (pixels == pixels[:, :1, :1]).all():
            level = ", ".join(map(str, pixels[:, 0, 0]))
            warn(f"{file}: every pixel is {level}; if it is transparent, try another --background")
        else:
            for line in doubts(int(pixels.max()), 0, 1):
                warn(f"{file}: {line}")
        found.append(pixels)
    return np.stack(found)


def sample(args: argparse.Namespace, run: Run) -> tuple[Arrays, Draw]:
    """A page of images, row by row."""
    model, columns, temperature = run.model, args.columns or 0, args.temperature
    check_size(args, run, args.count, 2 * prod(model.latent_shape))
    if not isinstance(model, VAE):
        note(
            "an autoencoder has no prior: its codes do not follow N(0, I), so these samples are "
            "decoded from codes unlike those of training"
        )
    z = latents.prior_codes(model, args.count, np.random.default_rng(args.seed), temperature)
    return {"z": z}, lambda plots, path, skips: plots.samples(
        model, z, path, columns, temperature, skips
    )


def interpolate(args: argparse.Namespace, run: Run) -> tuple[Arrays, Draw]:
    """A row for each pair; its ends are the reconstructions of the two."""
    pairs = args.pairs
    if pairs is not None and len(pairs) % 2:
        raise ValueError(f"--pairs: expected an even number of images, got {len(pairs)}")
    rows = MOST_PAIRS if pairs is None else len(pairs) // 2
    check_size(args, run, (rows, args.steps), 4 * prod(run.model.latent_shape))
    if pairs is None:
        total = len(run.test_images())
        if total < 2:
            raise ValueError(f"--pairs: expected at least 2 test images, found {total}")
        pairs = spread(2 * min(rows, total // 2), total).tolist()
    ends = codes_of(run, images_at(run, pairs, "--pairs"))
    t = np.linspace(0, 1, args.steps)
    z = (latents.great_circle if args.spherical else latents.line)(ends[::2], ends[1::2], t)
    arrays = {"z": z, "t": t, "test_indices": np.array(pairs)}
    return arrays, lambda plots, path, skips: plots.interpolation(run.model, z, path, pairs, skips)


def traverse(args: argparse.Namespace, run: Run) -> tuple[Arrays, Draw]:
    """A row for each dimension, the most active one first if none are chosen."""
    model, dimensions = run.model, args.dimensions
    size = prod(model.latent_shape)
    rows = min(MOST_DIMENSIONS, size) if dimensions is None else len(dimensions)
    check_size(args, run, (rows, args.steps), 4 * size)
    if dimensions is None:
        images = run.test_images()
        codes = codes_of(run, images[spread(LOOKED_AT, len(images))])
        dimensions = latents.most_active(codes, MOST_DIMENSIONS)
    for dimension in dimensions:
        if not 0 <= dimension < size:
            raise ValueError(f"--dimensions: expected 0 to {size - 1}, got {dimension}")
    arrays, base = {}, np.zeros(model.latent_shape, model.dtype)
    if args.image is not None:
        arrays["test_indices"] = np.array([args.image])
        base = codes_of(run, images_at(run, [args.image], "--image"))[0]
    values = np.linspace(-args.range, args.range, args.steps)
    z = latents.traversal(base, dimensions, values)
    arrays |= {"z": z, "values": values, "dimensions": np.array(dimensions)}
    return arrays, lambda plots, path, skips: plots.traversal(
        model, z, path, dimensions, values, skips
    )


def manifold(args: argparse.Namespace, run: Run) -> tuple[Arrays, Draw]:
    """The plane, and test images on it by their classes, if they have any."""
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
    check_size(args, run, (args.size, args.size), 4 * 2)
    z = latents.plane(args.size, model.dtype)
    arrays, data = {"z": z}, run.load_data()
    if (labels := data.test_labels) is not None:
        chosen = spread(MOST_CODES, len(labels))
        codes, labels = codes_of(run, run.test_images()[chosen]), labels[chosen]
        arrays |= {"codes": codes, "labels": labels, "test_indices": chosen}

    def draw(plots: Any, path: Path, _: Any) -> list[Path]:
        plots.manifold(model, path, args.size)
        if labels is None:
            return []
        second = codes_beside(path)
        title = f"codes (mu) of {len(codes):,} test images, {data.name}"
        plots.code_scatter(codes, labels, second, title, data.classes)
        return [second]

    return arrays, draw
