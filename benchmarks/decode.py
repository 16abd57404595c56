"""Time the first and the second reading of a folder against Pillow's own decoding.

    python benchmarks/decode.py [--count 4000] [--rounds 9]

Makes a folder of JPEGs in CelebA's size. Then, in turns: Pillow alone decodes, crops and resizes
every file on as many threads and drops the result; `load_folder` fills an empty cache; and
`load_folder` reads the full one. Medians; the ratio is first / Pillow.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import PIL
from measure import parser, positive
from PIL import Image

from scratchvae.data.decode import GROUP, cores
from scratchvae.data.folders import load_folder

WIDTH, HEIGHT, CROP, SIZE = 178, 218, 148, 64


def make_photographs(folder: Path, count: int) -> None:
    """Smooth gradients and some noise: about as many bytes as a face in CelebA."""
    rng = np.random.default_rng(0)
    for i in range(count):
        corners = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        smooth = np.asarray(corners.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        noisy = smooth + rng.normal(0, 4, smooth.shape)
        photograph = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        photograph.save(folder / f"{i:06}.jpg", quality=90)


def pillow_alone(paths: list[Path]) -> None:
    groups = [paths[i : i + GROUP] for i in range(0, len(paths), GROUP)]
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(shrink_all, groups))


def shrink_all(paths: list[Path]) -> None:
    left, top = (WIDTH - CROP) // 2, (HEIGHT - CROP) // 2
    for path in paths:
        with Image.open(path) as image:
            square = image.crop((left, top, left + CROP, top + CROP))
            square.resize((SIZE, SIZE), Image.Resampling.BILINEAR)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--count", type=positive, default=4000, help="files (default: 4000)")
    options.add_argument("--rounds", type=positive, default=9, help="measurements (default: 9)")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "photographs")
        folder.mkdir()
        make_photographs(folder, given.count)
        paths = sorted(folder.iterdir())
        kilobytes = sum(path.stat().st_size for path in paths) / given.count / 1000
        print(f"Pillow {PIL.__version__}, {cores()} threads, {given.count} files of", end=" ")
        print(f"{WIDTH} x {HEIGHT}, {kilobytes:.1f} kB each, to {SIZE} x {SIZE}")

        times: dict[str, list[float]] = {"Pillow alone": [], "first run": [], "second run": []}
        for turn in range(given.rounds):
            load = partial(load_folder, folder, SIZE, CROP, cache_dir=Path(scratch, f"cache{turn}"))
            runs = (partial(pillow_alone, paths), load, load)
            for seconds, run in zip(times.values(), runs, strict=True):
                start = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - start)
        for name, seconds in times.items():
            each = 1e3 * median(seconds) / given.count
            print(f"{name:13} {median(seconds):8.3f} s {each:8.4f} ms per image")
        ratios = [b / a for a, b in zip(times["Pillow alone"], times["first run"], strict=True)]
        print(f"first / Pillow {median(ratios):.2f}")


if __name__ == "__main__":
    main()
