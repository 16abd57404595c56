"""Decoding a folder of photographs, beside Pillow's own time for it on the same cores.

    python benchmarks/decoding.py --images 10000

Makes the photographs (JPEG, 89 x 109). In turns, in fresh processes: Pillow alone decodes, crops
and resizes them on all cores and drops the pixels; `load_folder` does the same, writes its cache
and checks it; `load_folder` finds the cache. Prints medians, and the memory after the first load.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

WIDTH, HEIGHT, SIZE, GROUP = 89, 109, 64, 32


def make(folder: Path, count: int) -> None:
    """Photographs of smooth random shapes with some noise, as large in bytes as real ones."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), 3), np.float32)
        pixels = np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:06}.jpg", quality=90)


def pillow(folder: Path) -> None:
    from scratchvae.data.decode import cores

    paths, top = sorted(folder.glob("*.jpg")), (HEIGHT - WIDTH) // 2

    def decode(start: int) -> None:
        for path in paths[start : start + GROUP]:
            with Image.open(path) as image:
                square = image.crop((0, top, WIDTH, top + WIDTH))
                np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BILINEAR))

    with ThreadPoolExecutor(cores()) as pool:
        [*pool.map(decode, range(0, len(paths), GROUP))]


def ours(folder: Path) -> None:
    from scratchvae.data import load_folder

    load_folder(folder, cache_dir=folder.parent / "cache", say=lambda line: None)


def measured(what: str, folder: Path) -> tuple[float, float]:
    """Seconds, and MB of anonymous memory at the end, of a function in a process of its own."""
    command = [sys.executable, __file__, "--only", what, "--folder", str(folder)]
    seconds, memory = subprocess.run(command, check=True, capture_output=True).stdout.split()
    return float(seconds), float(memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("pillow", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        import scratchvae.data  # noqa: F401  # imported before the clock starts

        start = time.perf_counter()
        {"pillow": pillow, "ours": ours}[args.only](args.folder)
        seconds = time.perf_counter() - start
        status = Path("/proc/self/status").read_text()
        print(seconds, int(status.split("RssAnon:")[1].split()[0]) / 1000)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photographs"
        folder.mkdir()
        make(folder, args.images)
        times: dict[str, list[float]] = {"Pillow alone": [], "first load": [], "second load": []}
        for _ in range(args.rounds):
            times["Pillow alone"].append(measured("pillow", folder)[0])
            shutil.rmtree(folder.parent / "cache", ignore_errors=True)
            seconds, memory = measured("ours", folder)
            times["first load"].append(seconds)
            times["second load"].append(measured("ours", folder)[0])
    print(f"{args.images:,} photographs of {WIDTH} x {HEIGHT} to {SIZE} x {SIZE}")
    for name, seconds_of in times.items():
        ratio = median(seconds_of) / median(times["Pillow alone"])
        print(f"{name:14}{median(seconds_of):7.2f} s{ratio:7.2f} x")
    print(f"anonymous memory after the first load: {memory:.0f} MB")


if __name__ == "__main__":
    main()
