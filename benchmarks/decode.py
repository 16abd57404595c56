"""Time the first and the second reading of a folder against Pillow's own decoding.

    python benchmarks/decode.py [--count 4000] [--rounds 9]

Makes a folder of JPEGs in CelebA's size. Then, in turns: Pillow alone decodes, crops and resizes
every file on as many threads and drops the result; `load_folder` fills an empty cache; and
`load_folder` finds it full. Medians; the ratio is first / Pillow. Run it on a quiet machine.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from scratchvae.data.decode import GROUP, cores
from scratchvae.data.images import load_folder

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
        for _ in pool.map(shrink_all, groups):
            pass


def shrink_all(paths: list[Path]) -> None:
    left, top = (WIDTH - CROP) // 2, (HEIGHT - CROP) // 2
    for path in paths:
        with Image.open(path) as image:
            square = image.crop((left, top, left + CROP, top + CROP))
            square.resize((SIZE, SIZE), Image.Resampling.BILINEAR)


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=4000, help="files (default: 4000)")
    parser.add_argument("--rounds", type=int, default=9, help="measurements (default: 9)")
    given = parser.parse_args()
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
            cache = Path(scratch, f"cache{turn}")
            times["Pillow alone"].append(seconds(partial(pillow_alone, paths)))
            for name in ("first run", "second run"):
                run = partial(load_folder, folder, SIZE, CROP, cache_dir=cache)
                times[name].append(seconds(run))
        for name, measured in times.items():
            median = statistics.median(measured)
            print(f"{name:13} {median:8.3f} s {1e3 * median / given.count:8.4f} ms per image")
        ratios = [b / a for a, b in zip(times["Pillow alone"], times["first run"], strict=True)]
        print(f"first / Pillow {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
